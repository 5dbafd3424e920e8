//! What a test measured.
//!
//! Figures are printed, and appended to the file that `BATON_FIGURES` names, from which the runner
//! prints them last, together.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::json;

/// The environment variable that names the file.
pub const FILE: &str = "BATON_FIGURES";

/// Records one figure of a test.
pub fn record(test: &str, what: &str, value: impl Display) {
    println!("{test}: {what}: {value}");
    append(&json!({"test": test, "what": what, "value": value.to_string()}));
}

/// Records that a test was left out, and why. A test that is left out passes, but is not counted.
pub fn left_out(test: &str, why: &str) {
    println!("{test}: left out: {why}");
    append(&json!({"test": test, "left_out": why}));
}

fn append(line: &serde_json::Value) {
    let Some(path) = std::env::var_os(FILE) else { return };
    // One write, so that lines of tests side by side do not mix.
    let line = format!("{line}\n");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).unwrap_or_else(|error| {
            panic!("cannot open {} ({FILE}): {error}", path.display());
        });
    file.write_all(line.as_bytes()).expect("figures file takes a line");
}

/// Middle and ends of some measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of at least one measurement.
    ///
    /// # Panics
    /// Without any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self { min: values[0], median: values[values.len() / 2], max: values[values.len() - 1] }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, median, max } = self;
        write!(f, "min {min:.0}, median {median:.0}, max {max:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(spread, Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(spread.to_string(), "min 1, median 2, max 3");
    }
}
