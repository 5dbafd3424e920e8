//! What failed tests said, from what they print: it belongs below the table that says how many failed, where it is seen.

/// Failures that are repeated there, and lines of each.
const FAILURES: usize = 8;
const LINES: usize = 16;

/// The longest line of these, in characters.
const WIDTH: usize = 240;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Panics {
    said: Vec<String>,
    failures: usize,
    /// Lines of the present one that are left.
    left: usize,
}

impl Panics {
    /// A line of the output.
    pub(crate) fn see(&mut self, line: &str) {
        if line.contains("' panicked at ") || line.contains(") panicked at ") {
            self.failures += 1;
            self.left = if self.failures <= FAILURES { LINES } else { 0 };
        } else if line.starts_with("stack backtrace:")
            || line.starts_with("note: ")
            || line.is_empty()
        {
            self.left = 0;
        }
        if self.left > 0 {
            self.left -= 1;
            self.said.push(line.chars().take(WIDTH).collect());
        }
    }

    /// All of it, each line on one of its own.
    pub(crate) fn text(&self) -> String {
        self.said.iter().map(|line| format!("\n    {line}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> String {
        let mut panics = Panics::default();
        output.lines().for_each(|line| panics.see(line));
        panics.text()
    }

    #[test]
    fn what_a_failed_test_said_is_kept_without_its_backtrace() {
        let output = "test a ... FAILED\n\n---- a stdout ----\nsomething\n\n\
            thread 'a' (12) panicked at tests/a.rs:1:5:\nnew: [\n    \"x\",\n]\nstack backtrace:\n   0: main\n\n\
            thread 'b' panicked at tests/b.rs:2:5:\ngone\nnote: run with\nmore\n";
        let expected = "\n    thread 'a' (12) panicked at tests/a.rs:1:5:\n    new: [\n        \"x\",\n    ]\
            \n    thread 'b' panicked at tests/b.rs:2:5:\n    gone";
        assert_eq!(of(output), expected);
        assert_eq!(of("test result: ok. 3 passed"), "");
    }

    #[test]
    fn it_is_never_long() {
        let one = format!("thread 'a' (1) panicked at a.rs:1:1:\n{}", "x\n".repeat(1000));
        let lines = of(&one.repeat(100)).lines().skip(1).count();
        assert_eq!(lines, FAILURES * LINES);
        let wide = format!("thread 'a' (1) panicked at a.rs:1:1: {}", "é".repeat(10_000));
        assert!(of(&wide).chars().count() <= WIDTH + 5);
    }
}
