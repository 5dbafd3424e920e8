//! `make test` as on a new machine: a clone of what is committed, with nothing around it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::command::Deadline;
use crate::report::{Outcome, Recorded};

/// How long the first run may take, from empty caches, and how long the second.
const COLD: Duration = Duration::from_secs(25 * 60);
const WARM: Duration = Duration::from_secs(10 * 60);

/// What the new user has of ours: where compilers and registries are, nothing else.
const KEPT: [&str; 9] = [
    "GOPROXY",
    "GOSUMDB",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
];

/// Runs `make test` in a new clone twice, cold and warm.
pub(crate) fn run(deadline: Deadline) -> anyhow::Result<Outcome> {
    let scratch = tempfile::Builder::new().prefix("baton-fresh-").tempdir()?;
    let clone = scratch.path().join("baton");
    let status = Command::new("git").args(["clone", "--quiet", "."]).arg(&clone).status()?;
    if !status.success() {
        bail!("git clone failed ({status})");
    }
    let home = scratch.path().join("home");
    std::fs::create_dir(&home)?;
    let mut outcome = Outcome::default();
    for (what, budget) in [("cold", COLD), ("warm", WARM)] {
        let run = Instant::now();
        make_test(&clone, &home, deadline.left())
            .with_context(|| format!("`make test`, {what}"))?;
        let took = run.elapsed();
        if took > budget {
            bail!(
                "`make test`, {what}, took {} s; {} s is its budget",
                took.as_secs(),
                budget.as_secs()
            );
        }
        outcome.tests += 1;
        let value = format!("{} of {} s", took.as_secs(), budget.as_secs());
        outcome.recorded.push(Recorded::figure("make test", what, value));
    }
    Ok(outcome)
}

fn make_test(clone: &Path, home: &Path, limit: Duration) -> anyhow::Result<()> {
    let mut command = Command::new("timeout");
    command.arg(limit.as_secs().to_string()).args(["make", "test"]);
    command.current_dir(clone).stdin(Stdio::null()).env_clear();
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Module files are read-only by default, and could not be removed afterwards.
    command.env("GOFLAGS", "-modcacherw").env("HOME", home).env("PATH", path()?);
    let status = command.status()?;
    if !status.success() {
        bail!("failed ({status})");
    }
    Ok(())
}

/// Our own path, with the compilers themselves in front of what only finds them by HOME.
fn path() -> anyhow::Result<std::ffi::OsString> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    let rust = PathBuf::from(sysroot.trim()).join("bin");
    let ours = std::env::var_os("PATH").context("no PATH")?;
    Ok(std::env::join_paths(std::iter::once(rust).chain(std::env::split_paths(&ours)))?)
}
