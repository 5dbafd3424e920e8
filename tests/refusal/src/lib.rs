//! Judges how a program refuses a wrong use: at once, with the right exit code, in one message that names the thing and says
//! what to do, without a panic and without a secret. The tests of every program have a table of such uses.
#![allow(clippy::expect_used, reason = "only tests use it, and they fail by panics")]

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A wrong use is refused within this: it must not be tried for long first.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The exit code of command lines that make no sense, as clap gives it.
pub const USAGE: i32 = 2;

/// The exit code of all else that is refused.
pub const FAILURE: i32 = 1;

/// Runs the command, which must end with this exit code and a message that has all of these parts in it and none of the
/// `secrets`. Returns what it said on standard error.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_refused(
    command: &mut Command,
    code: i32,
    parts: &[&str],
    secrets: &[&str],
) -> String {
    let use_of = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let (ended, said) = run(command);
    assert_eq!(ended, Some(code), "the exit code of {use_of}, which says: {said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{use_of} panics: {said}");
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    // Log lines may come before it; nothing may follow it, except clap's hints.
    let message = if code == USAGE {
        said.find("error: ").map_or(&said[..], |start| &said[start..])
    } else {
        let line = said.lines().last().unwrap_or_default();
        let prefix = format!("{}: ", name.to_string_lossy());
        assert_eq!(said.matches(&prefix).count(), 1, "one message for {use_of}: {said}");
        assert!(line.starts_with(&prefix), "the last line for {use_of} is its message: {said}");
        line
    };
    for part in parts {
        assert!(message.contains(part), "`{part}` in what {use_of} says: {message}");
    }
    for secret in secrets {
        assert!(!said.contains(secret), "{use_of} tells a secret: {said}");
    }
    said
}

/// Runs the command: its exit code, if it ended in time and by itself, and its standard error.
fn run(command: &mut Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stderr = child.stderr.take().expect("it was piped");
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = ended_at_once(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    let said = reader.join().expect("it only reads");
    (status.and_then(|status| status.code()), said)
}

fn ended_at_once(child: &mut Child) -> Option<ExitStatus> {
    poll(|| child.try_wait().expect("it is our child"))
}

/// Asks until there is an answer, or too late.
fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || begun.elapsed() > AT_ONCE {
            return answer;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program that goes on, and does not outlive its test, however that ends.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, with its standard error in this file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log file");
        let child = command.stderr(file).spawn().expect("the program starts");
        Self { child, log: log.into() }
    }

    /// Its process.
    #[must_use]
    pub const fn child(&self) -> &Child {
        &self.child
    }

    /// Waits for a line with these words.
    ///
    /// # Panics
    /// When there is none.
    pub fn until_it_says(&self, words: &str) -> String {
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = poll(|| said().lines().find(|line| line.contains(words)).map(ToOwned::to_owned));
        line.unwrap_or_else(|| panic!("it says nothing of `{words}`, but: {}", said()))
    }

    /// Whether it goes on.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> ExitStatus {
        ended_at_once(&mut self.child).expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
