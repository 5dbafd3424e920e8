//! What came of it all, printed last.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

/// What came of one target.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Tests that ran.
    pub(crate) tests: usize,
    /// Tests that were left out, and said so.
    pub(crate) left_out: usize,
    /// What they recorded.
    pub(crate) recorded: Vec<Recorded>,
}

/// A line that a test recorded.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Recorded {
    test: String,
    #[serde(default)]
    what: String,
    #[serde(default)]
    value: String,
    pub(crate) left_out: Option<String>,
}

impl Recorded {
    /// Reads the file of figures: a JSON object on each line.
    pub(crate) fn read(lines: &str) -> Vec<Self> {
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A figure of the runner's own.
    pub(crate) fn figure(test: &str, what: &str, value: String) -> Self {
        Self { test: test.to_owned(), what: what.to_owned(), value, left_out: None }
    }

    /// Something that the runner left out.
    pub(crate) fn left_out(test: &str, why: &str) -> Self {
        let left_out = Some(why.to_owned());
        Self { left_out, ..Self::figure(test, "", String::new()) }
    }
}

/// What came of all targets so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    target: String,
    tier: String,
    took: Duration,
    result: Result<Outcome, String>,
}

impl Report {
    /// Says what begins.
    #[expect(clippy::print_stdout, reason = "progress")]
    pub(crate) fn begin(&self, target: &str, tier: &str) {
        println!("== {target} ({tier})");
    }

    /// Takes note of what came of it.
    pub(crate) fn end(
        &mut self,
        target: &str,
        tier: &str,
        took: Duration,
        result: anyhow::Result<Outcome>,
    ) {
        let result = result.map_err(|error| format!("{error:#}"));
        self.rows.push(Row { target: target.to_owned(), tier: tier.to_owned(), took, result });
    }

    /// Prints figures and tiers. Did everything pass?
    #[expect(clippy::print_stdout, reason = "the result")]
    pub(crate) fn print(&self) -> bool {
        println!("\n{}{}", self.figures(), self.tiers());
        self.rows.iter().all(|row| row.result.is_ok())
    }

    fn figures(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let Ok(outcome) = &row.result else { continue };
            for Recorded { test, what, value, left_out } in &outcome.recorded {
                // Writing to a String cannot fail.
                let _ = match left_out {
                    None => writeln!(text, "{:18} {test}: {what}: {value}", row.tier),
                    Some(why) => writeln!(text, "{:18} {test}: LEFT OUT: {why}", row.tier),
                };
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    fn tiers(&self) -> String {
        let mut text = format!(
            "{:18} {:18} {:>5} {:>8} {:>7}\n",
            "target", "tier", "tests", "left out", "time"
        );
        for row in &self.rows {
            let (tests, left_out, verdict) = match &row.result {
                Ok(outcome) => {
                    (outcome.tests.to_string(), outcome.left_out.to_string(), "passed".to_owned())
                }
                Err(why) => ("-".to_owned(), "-".to_owned(), format!("FAILED: {why}")),
            };
            let _ = writeln!(
                text,
                "{:18} {:18} {tests:>5} {left_out:>8} {:>5} s  {verdict}",
                row.target,
                row.tier,
                row.took.as_secs()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_row_and_one_failure_fails_all() {
        let mut report = Report::default();
        let recorded = Recorded::read(concat!(
            r#"{"test":"t","what":"w","value":"v"}"#,
            "\n",
            r#"{"test":"u","left_out":"needs nodes"}"#,
        ));
        assert_eq!(recorded.len(), 2);
        let outcome = Outcome { tests: 3, left_out: 1, recorded };
        report.end("a", "unit", Duration::from_secs(2), Ok(outcome));
        assert!(report.print());
        report.end("b", "cluster", Duration::from_secs(1), Err(anyhow::anyhow!("it broke")));
        assert!(!report.print());
        assert!(report.tiers().contains("FAILED: it broke"));
        assert!(report.figures().contains("t: w: v"));
        assert!(report.figures().contains("u: LEFT OUT: needs nodes"));
    }
}
