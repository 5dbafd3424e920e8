//! What was measured, as two tables in Markdown: ratios, which travel, and then what they were made of, which does not.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::crowds::{Crowd, Handshakes, Idle};
use crate::machine::Machine;
use crate::stats::{Estimate, mean, median, middle, ratio};
use crate::windows::Window;

/// Between these lines of a document the report is written.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Everything that a run has measured. Windows are in the order of [`SUBJECTS`].
pub(crate) struct Measured {
    pub(crate) machine: Machine,
    pub(crate) quick: bool,
    pub(crate) bulk: Vec<Vec<Window>>,
    pub(crate) sparse: Vec<Vec<Window>>,
    pub(crate) lone: Vec<Vec<Window>>,
    /// After the others, one more: a connection without any relay.
    pub(crate) light: Vec<Vec<Window>>,
    pub(crate) handshakes: Handshakes,
    pub(crate) crowd: Crowd,
}

/// What is compared.
pub(crate) const SUBJECTS: [&str; 3] = ["raw UDP forwarder", "bare quinn loop", "baton-relay"];
const RAW: usize = 0;
const BARE: usize = 1;
pub(crate) const BATON: usize = 2;
/// Under some loads a connection without any relay, under others another build of ours.
const DIRECT: usize = 3;
const OTHER: usize = 3;

/// What a relay should be able to do.
#[derive(Debug, Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    /// Judged by the bounds, not by the middle.
    fn verdict(self, Estimate { low, high, .. }: Estimate) -> &'static str {
        let (surely, hardly) = match self {
            Self::AtMost(goal) => (high <= goal, low > goal),
            Self::AtLeast(goal) => (low >= goal, high < goal),
        };
        match (surely, hardly) {
            (true, _) => "met",
            (_, true) => "**missed**",
            _ => "undecided",
        }
    }
}

/// A load's name, its windows, and how much of a bare loop's a datagram may cost.
type Costly<'a> = (&'static str, &'a [Vec<Window>], Option<f64>);

fn one(value: f64) -> Estimate {
    Estimate { mean: value, low: value, high: value }
}

fn bounds(Estimate { mean, low, high }: Estimate) -> String {
    format!("{mean:.2} ({low:.2} to {high:.2})")
}

fn costs(windows: &[Window]) -> Vec<f64> {
    windows.iter().map(|window| window.cost).collect()
}

fn against(costs: &[f64], base: &[f64]) -> anyhow::Result<Estimate> {
    let pairs: Vec<_> = costs.iter().copied().zip(base.iter().copied()).collect();
    ratio(&pairs).context("a ratio needs two rounds")
}

/// A line for each of those whose costs `baton`'s are compared with.
fn compared(baton: &[f64], others: &[(&str, &[f64])], each: &str) -> anyhow::Result<Vec<String>> {
    let line = |&(whose, other): &(&str, &[f64])| {
        let [us, other_us] = [baton, other].map(|costs| median(costs).unwrap_or_default());
        let ratio = bounds(against(baton, other)?);
        Ok(format!("{ratio} of {whose}: {us:.2} of {other_us:.2} us per {each}"))
    };
    others.iter().map(line).collect()
}

/// What a handshake costs.
pub(crate) fn handshakes(handshakes: &Handshakes) -> anyhow::Result<String> {
    let Handshakes { bare, open, token, other } = handshakes;
    let all = [("a bare quinn loop's", &bare[..]), ("the other build's", other)];
    let others = &all[..1 + usize::from(!other.is_empty())];
    let mut lines = compared(open, &all[..1], "handshake, open")?;
    lines.extend(compared(token, others, "handshake, token")?);
    Ok(lines.join("\n"))
}

/// What the relay costs under one load: a line for each of those that it is compared with, one of them another build if that is `beside`.
pub(crate) fn cost(windows: &[Vec<Window>], beside: bool) -> anyhow::Result<String> {
    let of = |which: usize| costs(&windows[which]);
    let (bare, other) = (of(BARE), if beside { of(OTHER) } else { Vec::new() });
    let all = [("a bare quinn loop's", &bare[..]), ("the other build's", &other)];
    let others = &all[..1 + usize::from(beside)];
    Ok(compared(&of(BATON), others, "datagram")?.join("\n"))
}

/// What idle sessions cost, and how long each drain took.
pub(crate) fn crowd(crowd: &Crowd) -> String {
    let Crowd { sessions, bare, baton, acknowledged, flagged } = crowd;
    let cost = |Idle { memory, cpu }: &Idle| {
        format!("{:.1} KiB each, {:.1} % of a core", memory / 1024.0, cpu * 100.0)
    };
    let seconds = |drains: &[Duration]| {
        let drains: Vec<_> =
            drains.iter().map(|took| format!("{:.2}", took.as_secs_f64())).collect();
        drains.join(", ")
    };
    format!(
        "{sessions} idle sessions: {}; with a bare quinn loop {}\n\
         acknowledged by all of them {} s after the first GOAWAY, {} s after the flag",
        cost(baton),
        cost(bare),
        seconds(acknowledged),
        seconds(flagged)
    )
}

impl Measured {
    /// The report.
    pub(crate) fn markdown(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let rounds = self.bulk[BATON].len();
        let kind = if self.quick { "quick run" } else { "full run" };
        writeln!(text, "{}. A {kind}: {rounds} rounds.\n", self.machine)?;
        if self.machine.load > 0.5 {
            writeln!(
                text,
                "The machine was busy with other things: only the ratios say something.\n"
            )?;
        }
        self.ratios(&mut text)?;
        self.absolutes(&mut text)?;
        Ok(text)
    }

    /// The loads of which it matters what a datagram costs.
    fn costly(&self) -> [Costly<'_>; 3] {
        [
            ("bulk", &self.bulk, Some(1.15)),
            ("sparse", &self.sparse, Some(0.95)),
            ("one alone", &self.lone, None),
        ]
    }

    fn ratios(&self, text: &mut String) -> anyhow::Result<()> {
        writeln!(
            text,
            "| CPU of baton-relay | of a bare quinn loop's (95 %) | goal | | of a raw forwarder's (95 %) |"
        )?;
        writeln!(text, "|---|---|---|---|---|")?;
        for (what, windows, goal) in self.costly() {
            let [raw, bare, baton] = [RAW, BARE, BATON].map(|which| costs(&windows[which]));
            let (to_bare, to_raw) = (against(&baton, &bare)?, against(&baton, &raw)?);
            let judged = |goal| format!("<= {goal} | {}", Goal::AtMost(goal).verdict(to_bare));
            let goal = goal.map_or_else(|| "|".to_owned(), judged);
            let (to_bare, to_raw) = (bounds(to_bare), bounds(to_raw));
            writeln!(text, "| datagram, {what} | {to_bare} | {goal} | {to_raw} |")?;
        }
        let Handshakes { bare, open, token, .. } = &self.handshakes;
        for (what, costs) in [("handshake, open", open), ("handshake, token", token)] {
            writeln!(text, "| {what} | {} | | | |", bounds(against(costs, bare)?))?;
        }
        let crowd = &self.crowd;
        writeln!(
            text,
            "| (memory, {} idle sessions) | {:.2} | | | |\n",
            crowd.sessions,
            crowd.baton.memory / crowd.bare.memory
        )?;
        Ok(())
    }

    fn absolutes(&self, text: &mut String) -> anyhow::Result<()> {
        writeln!(text, "| | raw forwarder | bare loop | baton-relay | goal | |")?;
        writeln!(text, "|---|---|---|---|---|---|")?;
        for (what, windows, _) in self.costly() {
            let cells: Vec<_> = [RAW, BARE, BATON]
                .iter()
                .map(|which| format!("{:.2}", median(&costs(&windows[*which])).unwrap_or_default()))
                .collect();
            writeln!(text, "| CPU per datagram, {what}, us | {} | | |", cells.join(" | "))?;
        }
        let delays =
            |which: usize| self.light[which].iter().map(|window| window.delay).collect::<Vec<_>>();
        let direct = delays(DIRECT);
        let added = |which| {
            let added: Vec<_> =
                delays(which).iter().zip(&direct).map(|(delay, direct)| delay - direct).collect();
            middle(&added).context("a median needs six rounds")
        };
        let (raw, bare, baton) = (added(RAW)?, added(BARE)?, added(BATON)?);
        let us = |Estimate { mean, low, high }| format!("{mean:.0} ({low:.0} to {high:.0})");
        let direct = median(&direct).unwrap_or_default();
        writeln!(
            text,
            "| latency p50, beyond the {direct:.0} of a quinn connection without relay, us | {} | {} | {} | | |",
            us(raw),
            us(bare),
            us(baton)
        )?;
        self.sessions(text)
    }

    fn sessions(&self, text: &mut String) -> anyhow::Result<()> {
        let per_core = |costs: &[f64]| {
            let rates: Vec<_> = costs.iter().map(|cost| 1e6 / cost).collect();
            mean(&rates).context("a mean needs two rounds")
        };
        let Handshakes { bare, open, token, .. } = &self.handshakes;
        let rate = |Estimate { mean, low, high }| format!("{mean:.0} ({low:.0} to {high:.0})");
        let bare = rate(per_core(bare)?);
        for (what, costs) in [("open", open), ("token", token)] {
            let cell = per_core(costs)?;
            let verdict = Goal::AtLeast(2500.0).verdict(cell);
            writeln!(
                text,
                "| handshakes per second and core, {what} | | {bare} | {} | >= 2500 | {verdict} |",
                rate(cell)
            )?;
        }
        let crowd = &self.crowd;
        let [kib, bare_kib] = [crowd.baton, crowd.bare].map(|idle| idle.memory / 1024.0);
        let verdict = Goal::AtMost(36.0).verdict(one(kib));
        let sessions = crowd.sessions;
        writeln!(
            text,
            "| memory of each of {sessions} idle sessions, KiB | | {bare_kib:.1} | {kib:.1} | <= 36 | {verdict} |"
        )?;
        let [cpu, bare_cpu] = [crowd.baton, crowd.bare].map(|idle| idle.cpu * 100.0);
        writeln!(
            text,
            "| CPU of {sessions} idle sessions, % of a core | | {bare_cpu:.1} | {cpu:.1} | | |"
        )?;
        let seconds: Vec<_> = crowd.acknowledged.iter().map(Duration::as_secs_f64).collect();
        let flagged: Vec<_> = crowd.flagged.iter().map(Duration::as_secs_f64).collect();
        let worst = seconds.iter().copied().fold(0.0, f64::max);
        let verdict = Goal::AtMost(0.8).verdict(one(worst));
        let (middle, from_flag) =
            (median(&seconds).unwrap_or_default(), median(&flagged).unwrap_or_default());
        writeln!(
            text,
            "| GOAWAY to {sessions} sessions, from the first to the last acknowledgement, s | | | {middle:.2}, at worst {worst:.2}; {from_flag:.2} from the flag's file on | <= 0.8 | {verdict} |"
        )?;
        Ok(())
    }

    /// Every window, for whoever wants to reckon for himself.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let mut lines = vec![json!({"machine": self.machine.to_string(), "quick": self.quick})];
        let loads = [
            ("bulk", &self.bulk),
            ("sparse", &self.sparse),
            ("lone", &self.lone),
            ("light", &self.light),
        ];
        for (load, subjects) in loads {
            for (which, windows) in subjects.iter().enumerate() {
                let subject = SUBJECTS.get(which).copied().unwrap_or("no relay");
                for (round, Window { cost, delay, rate }) in windows.iter().enumerate() {
                    lines.push(json!({
                        "load": load, "subject": subject, "round": round,
                        "cpuMicros": cost, "delayMicros": delay, "perSecond": rate,
                    }));
                }
            }
        }
        let Handshakes { bare, open, token, .. } = &self.handshakes;
        lines.push(json!({"handshakeCpuMicros": {"bare": bare, "open": open, "token": token}}));
        let Crowd { sessions, bare, baton, acknowledged, flagged } = &self.crowd;
        let seconds =
            |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        lines.push(json!({
            "sessions": sessions, "bareBytes": bare.memory, "bytes": baton.memory,
            "bareIdleCores": bare.cpu, "idleCores": baton.cpu,
            "acknowledgedSeconds": seconds(acknowledged), "fromFlagSeconds": seconds(flagged),
        }));
        lines
    }
}

/// Puts the report where a document has it.
pub(crate) fn write_into(path: &Path, report: &str) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let written = replaced(&text, report).with_context(|| {
        format!("{} has no lines '{BEGIN}' and '{END}' to write between", path.display())
    })?;
    std::fs::write(path, written).with_context(|| format!("writing {}", path.display()))
}

fn replaced(text: &str, report: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", report.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_missed_by_the_bounds() {
        let estimate = |low, high| Estimate { mean: f64::midpoint(low, high), low, high };
        let at_most = Goal::AtMost(1.15);
        assert_eq!(at_most.verdict(estimate(1.0, 1.1)), "met");
        assert_eq!(at_most.verdict(estimate(1.1, 1.2)), "undecided");
        assert_eq!(at_most.verdict(estimate(1.2, 1.3)), "**missed**");
        let at_least = Goal::AtLeast(2500.0);
        assert_eq!(at_least.verdict(one(3000.0)), "met");
        assert_eq!(at_least.verdict(one(2000.0)), "**missed**");
    }

    #[test]
    fn only_what_is_between_the_lines_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let expected = format!("before\n{BEGIN}\nnew\n{END}\nafter\n");
        assert_eq!(replaced(&text, "new\n"), Some(expected));
        assert_eq!(replaced("no such lines", "new"), None);
    }
}
