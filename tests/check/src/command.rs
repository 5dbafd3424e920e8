//! Running commands, and counting the tests in what cargo prints.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::panics::Panics;
use crate::report::{Outcome, Recorded};

/// How often it is looked at whether a command has ended.
const END_POLL: Duration = Duration::from_millis(20);

/// When whatever still runs is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    began: Instant,
    limit: Duration,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
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

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { began: Instant::now(), limit }
    }

    /// What is left until then.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }

    fn missed(&self, what: &str) -> anyhow::Error {
        anyhow!("{what} was ended: {} s were over", self.limit.as_secs())
    }
}

/// Runs a command with its output where ours goes.
pub(crate) fn step(command: &[&str], deadline: Deadline) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    run(Command::new(program).args(arguments), deadline, |_| {})
}

/// Runs a command and returns what it printed.
pub(crate) fn output(command: &mut Command, deadline: Deadline) -> anyhow::Result<Output> {
    // To files: whoever else holds the other end of a pipe could keep us reading.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let status = end(&mut child, deadline)?.ok_or_else(|| deadline.missed(&name))?;
    let content = |file: &mut fs::File| {
        let mut content = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut content).map(|_| content)
    };
    Ok(Output { status, stdout: content(&mut stdout)?, stderr: content(&mut stderr)? })
}

impl CargoTest {
    /// Runs them, and says how many there were and what they recorded.
    pub(crate) fn run(&self, deadline: Deadline) -> anyhow::Result<Outcome> {
        self.run_those(&[], deadline)
    }

    /// Runs those of them that `filter` lets through: words for the test program.
    pub(crate) fn run_those(&self, filter: &[&str], deadline: Deadline) -> anyhow::Result<Outcome> {
        let figures = tempfile::NamedTempFile::new()?;
        let mut passed = 0;
        let mut failed = 0;
        let mut panics = Panics::default();
        let mut command = self.command();
        command.args(filter);
        // What tests record goes there; and where they need a cluster, one is up.
        command.env("BATON_FIGURES", figures.path()).env("BATON_CHECK", "1");
        let result = run(&mut command, deadline, |line| {
            let (p, f) = counted(line);
            passed += p;
            failed += f;
            panics.see(line);
        });
        let failure = || format!("{failed} of {} tests failed", passed + failed);
        result.map_err(|error| anyhow!("{}: {error:#}{}", failure(), panics.text()))?;
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

/// Runs a command to its end or the deadline; each line of its output is printed, and given to `see`.
pub(crate) fn run(
    command: &mut Command,
    deadline: Deadline,
    mut see: impl FnMut(&str),
) -> anyhow::Result<()> {
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let (lines, printed) = mpsc::sync_channel(64);
    let stdout = child.stdout.take().context("no output")?;
    // Ends with the output, or when nobody takes the lines any more.
    thread::spawn(move || each_line(stdout, |line| lines.send(line).is_ok()));
    loop {
        match printed.recv_timeout(deadline.left()) {
            Ok(line) => {
                // Nobody listens: the exit status still counts.
                let _ = writeln!(io::stdout(), "{line}");
                see(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                kill_with_descendants(&mut child);
                return Err(deadline.missed(&name));
            }
        }
    }
    // A command may close its output and go on.
    let status = end(&mut child, deadline)?.ok_or_else(|| deadline.missed(&name))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn name(command: &Command) -> String {
    format!("{command:?}").replace('"', "")
}

/// Reads lines, whatever bytes are in them, to the end or until `take` has enough.
pub(crate) fn each_line(output: impl io::Read, mut take: impl FnMut(String) -> bool) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        if !take(text.trim_end_matches('\n').to_owned()) {
            return;
        }
        line.clear();
    }
}

/// Waits for a command's end. At the deadline it is killed, and there is no status.
pub(crate) fn end(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if deadline.left().is_zero() {
            kill_with_descendants(child);
            return Ok(None);
        }
        thread::sleep(END_POLL);
    }
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

    fn minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

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
        run(Command::new("echo").arg("a"), minute(), |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["a"]);
        let error = run(&mut Command::new("false"), minute(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("false failed"), "{error}");
        let output =
            output(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), minute());
        let Output { status, stdout, stderr } = output.unwrap();
        assert_eq!((status.code(), &stdout[..], &stderr[..]), (Some(3), &b"a\n"[..], &b"b\n"[..]));
    }

    #[test]
    fn output_that_is_no_text_is_read_to_its_end() {
        let mut seen = Vec::new();
        let mut command = Command::new("printf");
        command.arg("a\\n\\377\\nb\\n");
        run(&mut command, minute(), |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["a", "\u{fffd}", "b"]);
    }

    #[test]
    fn what_closes_its_output_and_goes_on_is_ended_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec >&-; sleep 1000"]);
        let began = Instant::now();
        let error = run(&mut command, Deadline::after(Duration::from_millis(300)), |_| {});
        assert!(error.unwrap_err().to_string().contains("was ended"));
        assert!(began.elapsed() < Duration::from_secs(100));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let mut started = String::new();
        let deadline = Deadline::after(Duration::from_secs(2));
        let error = run(&mut command, deadline, |line| line.clone_into(&mut started)).unwrap_err();
        assert!(error.to_string().contains("was ended"));
        let sleep: u32 = started.parse().expect("the number of the sleep's process");
        let stat = fs::read_to_string(format!("/proc/{sleep}/stat")).unwrap_or_default();
        assert!(!stat.contains(") S"), "the sleep goes on: {stat}");
    }
}
