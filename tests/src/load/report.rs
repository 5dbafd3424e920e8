//! What came of a load: for people, and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Pattern;
use super::meters::Counted;
use crate::traffic::{Direction, Exchanged, Gaps};

/// In what windows rates are judged: the second in which a relay is hit hardest, and the window of the design's goals.
const WINDOWS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What came of all pairs that did the same. Of streams, what is counted are blocks.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Lives of pairs.
    pub lives: u64,
    /// Datagrams or blocks that were sent.
    pub sent: u64,
    /// Different ones that came.
    pub received: u64,
    /// Datagrams that came again.
    pub duplicated: u64,
    /// Datagrams that came after one that was sent later.
    pub reordered: u64,
    /// Between two that came.
    pub gaps: Gaps,
    /// Streams that broke, and how. What they had carried is in no other count.
    pub broken: Vec<String>,
}

impl Tally {
    /// How many never came.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl std::ops::AddAssign<&Exchanged> for Tally {
    fn add_assign(&mut self, Exchanged { sent, received }: &Exchanged) {
        self.sent += sent;
        self.received += received.count();
        self.duplicated += received.duplicates();
        self.reordered += received.reordered();
        self.gaps += received.gaps();
    }
}

impl std::ops::AddAssign<&Direction> for Tally {
    fn add_assign(&mut self, Direction { sent, received, gaps }: &Direction) {
        self.sent += sent;
        self.received += received;
        self.gaps += gaps;
    }
}

impl std::ops::AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.lives += other.lives;
        self.sent += other.sent;
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.gaps += &other.gaps;
        self.broken.extend(other.broken.iter().cloned());
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct Report {
    /// Of each pattern.
    pub tallies: BTreeMap<Pattern, Tally>,
    /// Of all peers.
    pub counted: Counted,
}

impl Report {
    /// One JSON object for each pattern, and one for all peers.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let mut lines: Vec<_> = self.tallies.iter().map(pattern_line).collect();
        let counted = &self.counted;
        let rate = |rate: &super::Rate| json!({"total": rate.total(), "peakPerSecond1s": rate.peak(WINDOWS[0]), "peakPerSecond5s": rate.peak(WINDOWS[1])});
        lines.push(json!({
            "attaches": rate(&counted.attaches),
            "attachMs": gaps(&counted.attach_times),
            "returns": rate(&counted.returns),
            "handovers": counted.handovers,
            "awayMs": gaps(&counted.away),
            "rebinds": counted.rebinds,
            "left": counted.left,
            "ghosts": counted.ghosts,
            "droppedByClients": counted.dropped_by_clients,
            "failures": counted.failures,
            "lastProblem": counted.last_problem,
        }));
        lines
    }
}

fn pattern_line((pattern, tally): (&Pattern, &Tally)) -> Value {
    json!({
        "pattern": pattern.name(),
        "lives": tally.lives,
        "sent": tally.sent,
        "received": tally.received,
        "lost": tally.lost(),
        "duplicated": tally.duplicated,
        "reordered": tally.reordered,
        "gapMs": gaps(&tally.gaps),
        "broken": tally.broken,
    })
}

fn gaps(gaps: &Gaps) -> Value {
    json!({"p50": ms(gaps.quantile(0.5)), "p99": ms(gaps.quantile(0.99)), "max": ms(gaps.longest())})
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 1e2
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "pattern", "lives", "sent", "lost", "twice", "late", "gap p50", "p99", "max", "broken",
        ];
        let row = |f: &mut fmt::Formatter<'_>, cells: [String; 10]| {
            let (first, rest) = (&cells[0], &cells[1..]);
            write!(f, "{first:8}")?;
            rest.iter().try_for_each(|cell| write!(f, " {cell:>10}"))?;
            writeln!(f)
        };
        row(f, head.map(str::to_owned))?;
        for (pattern, tally) in &self.tallies {
            let time = |duration| format!("{} ms", ms(duration));
            let counts = [tally.lives, tally.sent, tally.lost(), tally.duplicated, tally.reordered];
            let [lives, sent, lost, twice, late] = counts.map(|count| count.to_string());
            let gaps = &tally.gaps;
            let [p50, p99, max] =
                [gaps.quantile(0.5), gaps.quantile(0.99), gaps.longest()].map(time);
            let broken = tally.broken.len().to_string();
            row(
                f,
                [pattern.name().to_owned(), lives, sent, lost, twice, late, p50, p99, max, broken],
            )?;
        }
        let counted = &self.counted;
        let rate = |rate: &super::Rate| {
            let [second, window] = WINDOWS.map(|window| rate.peak(window));
            format!("{} (at most {second:.0}/s in 1 s, {window:.0}/s in 5 s)", rate.total())
        };
        let times = &counted.attach_times;
        let [p50, p99] = [0.5, 0.99].map(|share| ms(times.quantile(share)));
        let longest = ms(times.longest());
        writeln!(
            f,
            "attached   {}: p50 {p50} ms, p99 {p99} ms, max {longest} ms",
            rate(&counted.attaches)
        )?;
        writeln!(
            f,
            "returned   {}, of them {} handed over",
            rate(&counted.returns),
            counted.handovers
        )?;
        writeln!(f, "away       at most {} ms", ms(counted.away.longest()))?;
        writeln!(f, "addresses  {} changed", counted.rebinds)?;
        writeln!(
            f,
            "peers      {} left and were replaced, {} vanished",
            counted.left, counted.ghosts
        )?;
        writeln!(f, "dropped    {} by clients themselves", counted.dropped_by_clients)?;
        let failures: Vec<_> =
            counted.failures.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let none = "none".to_owned();
        let failures = if failures.is_empty() { none } else { failures.join(", ") };
        write!(f, "failures   {failures}")?;
        match &counted.last_problem {
            Some(problem) => write!(f, "; the last problem: {problem}"),
            None => Ok(()),
        }
    }
}
