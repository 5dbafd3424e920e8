//! Running the system's own programs (`ip`, `nft`, `nsenter`, ...) to their end.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::names;

/// A program that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started, or not be read.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("`{command}` failed with {status}: {said}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote on standard error, else on standard output.
        said: String,
    },
}

/// Runs `program` with `arguments` and returns what it wrote on standard output.
///
/// # Errors
/// When it cannot be started or ends with a failure.
pub async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, CommandError> {
    run_with_input(program, arguments, "").await
}

/// As [`run`], with `input` on standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_with_input<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Result<String, CommandError> {
    let arguments: Vec<OsString> =
        arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    let described = || {
        let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        format!("{program} {}", words.join(" "))
    };
    let output = output(program, &arguments, input)
        .await
        .map_err(|source| CommandError::Start { command: described(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said).trim().to_owned();
    Err(CommandError::Failed { command: described(), status: output.status, said })
}

/// As [`run`], inside the network namespace `namespace`.
///
/// `nsenter`, not `ip netns exec`: the latter mounts a new `/sys` and so hides the cgroups.
///
/// # Errors
/// As [`run`].
pub async fn run_in(namespace: &str, command: &[&str]) -> Result<String, CommandError> {
    run_in_with_input(namespace, command, "").await
}

/// As [`run_in`], with `input` on standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_in_with_input(
    namespace: &str,
    command: &[&str],
    input: &str,
) -> Result<String, CommandError> {
    let mut arguments = vec![enter_network(namespace)];
    arguments.extend(command.iter().map(OsString::from));
    run_with_input("nsenter", arguments, input).await
}

/// The argument of `nsenter` that enters a named network namespace.
#[must_use]
pub fn enter_network(namespace: &str) -> OsString {
    let mut argument = OsString::from("--net=");
    argument.push(names::namespace_path(namespace));
    argument
}

/// Is there a program of this name on the `PATH`?
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

async fn output(program: &str, arguments: &[OsString], input: &str) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Inputs are rule sets of a few kilobytes: they fit the pipe, so nothing waits here for a
        // program that does not read. One that ended before it read says why by its exit status.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_says_what_was_run_and_what_it_said() {
        let error = run("sh", ["-c", "echo no such thing >&2; exit 3"]).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("no such thing") && said.contains("sh -c"), "{said}");
        assert!(matches!(run("no-such-program", ["x"]).await, Err(CommandError::Start { .. })));
    }

    #[tokio::test]
    async fn input_arrives_and_output_returns() {
        assert_eq!(run_with_input("cat", ["-"], "hello").await.unwrap(), "hello");
    }

    #[test]
    fn a_program_is_found_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
