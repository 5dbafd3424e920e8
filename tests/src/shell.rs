//! What a person types: `eval "$(make -s cluster-env)"`, then kubectl.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::cluster::Kind;

/// A shell command as a person would type it, with the cluster's environment where it is ours.
#[must_use]
pub fn shell(script: &str) -> Command {
    let script = match Kind::from_env() {
        Kind::Ours => format!("eval \"$(make -s cluster-env)\" && {script}"),
        Kind::Existing => script.to_owned(),
    };
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it and returns what it printed.
///
/// # Panics
/// When it fails.
pub async fn run(script: &str) -> String {
    let output = shell(script).stderr(Stdio::piped()).output().await.expect("sh runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{script}` failed: {out}{err}");
    out.into_owned()
}

/// Runs it again and again until it prints what is wanted, and returns that.
///
/// # Panics
/// When it fails, or does not print that in time.
pub async fn until_prints(
    script: &str,
    what: &str,
    deadline: Duration,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let started = Instant::now();
    loop {
        let printed = run(script).await;
        if wanted(&printed) {
            return printed;
        }
        assert!(started.elapsed() < deadline, "`{script}` does not print {what}: {printed}");
        sleep(Duration::from_millis(500)).await;
    }
}
