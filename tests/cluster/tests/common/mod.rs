//! What the tests of the command share.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod snapshot;

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a command did.
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) status: Option<i32>,
    /// Standard error.
    pub(crate) said: String,
}

/// The command, with its output where ours goes.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-cluster"));
    command.args(arguments);
    command
}

/// Runs the command to its end.
pub(crate) fn tool(arguments: &[&str]) -> Ran {
    ran(&mut command(arguments))
}

/// Runs any command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { success: output.status.success(), status: output.status.code(), said }
}

/// Is there a process of this number that is no zombie?
pub(crate) fn is_running(process: &str) -> bool {
    stat(process, STATE).is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// What follows the command in proc_pid_stat(5).
pub(crate) const STATE: usize = 0;
pub(crate) const PARENT: usize = 1;
pub(crate) const SESSION: usize = 3;

/// One of these of a process, if there is such a process.
pub(crate) fn stat(process: &str, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field).map(str::to_owned)
}

/// Records a figure as `baton_tests::figures` does, which this crate cannot use: that one uses it.
pub(crate) fn figure(what: &str, value: impl Display) {
    let Some(path) = std::env::var_os("BATON_FIGURES") else { return };
    let line = serde_json::json!({"test": "lifecycle", "what": what, "value": value.to_string()});
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}
