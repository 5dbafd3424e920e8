//! Running commands, and counting the tests in what cargo prints.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::report::{Outcome, Recorded};

/// One command with a time limit.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    command: &'a [&'a str],
    limit: Duration,
}

/// Some cargo tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTest {
    /// `None`: the whole workspace.
    pub(crate) package: Option<&'static str>,
    pub(crate) features: Option<&'static str>,
    /// Integration tests; none: libraries, programs and everything else that the features allow.
    pub(crate) tests: &'static [&'static str],
    /// Tests side by side; `None`: as many as there are processors.
    pub(crate) threads: Option<u8>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(command: &'a [&'a str], limit: Duration) -> Self {
        Self { command, limit }
    }

    /// Runs it with its output where ours goes.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (program, arguments) = self.command.split_first().context("an empty command")?;
        run(Command::new(program).args(arguments), self.limit, |_| {})
    }
}

impl CargoTest {
    /// Runs them, and says how many there were and what they recorded.
    pub(crate) fn run(&self, limit: Duration) -> anyhow::Result<Outcome> {
        let figures = tempfile::NamedTempFile::new()?;
        let mut passed = 0;
        let mut failed = 0;
        let mut command = self.command();
        // What tests record goes there; and where they need a cluster, one is up.
        command.env("BATON_FIGURES", figures.path()).env("BATON_CHECK", "1");
        let result = run(&mut command, limit, |line| {
            let (p, f) = counted(line);
            passed += p;
            failed += f;
        });
        result.with_context(|| format!("{failed} of {} tests failed", passed + failed))?;
        outcome(passed, Recorded::read(&fs::read_to_string(figures.path())?))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet"]);
        match self.package {
            Some(package) => command.args(["--package", package]),
            None => command.arg("--workspace"),
        };
        if let Some(features) = self.features {
            command.args(["--features", features]);
        }
        for test in self.tests {
            command.args(["--test", test]);
        }
        command.args(["--", "--format=pretty"]);
        if let Some(threads) = self.threads {
            command.arg(format!("--test-threads={threads}"));
        }
        command
    }
}

/// What came of tests that all passed. One that is left out passes too, and says so.
fn outcome(passed: usize, recorded: Vec<Recorded>) -> anyhow::Result<Outcome> {
    if passed == 0 {
        bail!("no test ran");
    }
    let left_out = recorded.iter().filter(|line| line.left_out.is_some()).count();
    Ok(Outcome { tests: passed.saturating_sub(left_out), left_out, recorded })
}

/// Passed and failed tests, from the line that ends a test program's output.
fn counted(line: &str) -> (usize, usize) {
    // "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.0s"
    let Some(counts) = line.strip_prefix("test result: ") else { return (0, 0) };
    let count = |what: &str| {
        let before = counts.split_once(what).map_or("", |(before, _)| before);
        before.trim().rsplit([' ', ';', '.']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    (count("passed"), count("failed"))
}

/// Runs a command to its end or its limit; each line of its output is printed, and given to `see`.
fn run(command: &mut Command, limit: Duration, mut see: impl FnMut(&str)) -> anyhow::Result<()> {
    let name = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let (lines, printed) = mpsc::sync_channel(64);
    let stdout = child.stdout.take().context("no output")?;
    let reader = thread::spawn(move || {
        let stdout = BufReader::new(stdout);
        stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    let deadline = Instant::now() + limit;
    loop {
        match printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                // Nobody listens: the exit status still counts.
                let _ = writeln!(std::io::stdout(), "{line}");
                see(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                kill_with_descendants(&mut child);
                bail!("{name} took longer than {} s and was ended", limit.as_secs());
            }
        }
    }
    // It ended with its sender.
    let _ = reader.join();
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Ends a command and all that it started, as far as they still are its descendants.
fn kill_with_descendants(child: &mut Child) {
    let mut next = vec![child.id()];
    while let Some(process) = next.pop() {
        next.extend(children_of(process));
        if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = child.wait();
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc_pid_stat(5): the command in parentheses may hold anything; then state and parent.
            let (_, rest) = stat.rsplit_once(") ")?;
            let its_parent: u32 = rest.split(' ').nth(1)?.parse().ok()?;
            (its_parent == parent).then_some(process)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_from_the_line_that_ends_them() {
        let line = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(counted(line), (7, 2));
        assert_eq!(counted("test result: ok. 13 passed; 0 failed; 0 ignored"), (13, 0));
        assert_eq!(counted("test a::b ... ok"), (0, 0));
    }

    #[test]
    fn what_is_left_out_is_not_counted_as_run() {
        let recorded = vec![Recorded::left_out("a", "why"), Recorded::left_out("b", "why")];
        let of_three = outcome(3, recorded.clone()).unwrap();
        assert_eq!((of_three.tests, of_three.left_out), (1, 2));
        assert!(outcome(0, recorded.clone()).is_err());
        // More than were counted, as from a program that was ended before it had counted.
        assert_eq!(outcome(1, recorded).unwrap().tests, 0);
    }

    #[test]
    fn output_is_seen_and_a_failure_is_an_error() {
        let mut seen = Vec::new();
        let limit = Duration::from_secs(60);
        run(Command::new("echo").arg("a"), limit, |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["a"]);
        let error = run(&mut Command::new("false"), limit, |_| {}).unwrap_err().to_string();
        assert!(error.contains("false failed"), "{error}");
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let mut started = String::new();
        let limit = Duration::from_millis(500);
        let error = run(&mut command, limit, |line| line.clone_into(&mut started)).unwrap_err();
        assert!(error.to_string().contains("was ended"));
        let stat = fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
        assert!(!stat.contains(") S"), "the sleep goes on: {stat}");
    }
}
