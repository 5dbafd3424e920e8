//! The README's two commands as on a new machine: a clone of what is committed, with nothing around it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::command::{self, Deadline};
use crate::report::{Outcome, Recorded};

/// The demo, from empty caches and twice again.
pub(crate) const DEMO: &[Step] = &[
    Step { verb: "demo", what: "from empty caches", budget: minutes(25) },
    Step { verb: "demo", what: "again", budget: minutes(4) },
    Step { verb: "demo", what: "a third time", budget: minutes(4) },
];

/// What CI runs, twice.
pub(crate) const TEST: &[Step] = &[
    Step { verb: "test", what: "from empty caches", budget: minutes(45) },
    Step { verb: "test", what: "again", budget: minutes(20) },
];

/// How long taking the demo's cluster down may take, which is no part of a step.
const DOWN_LIMIT: Duration = minutes(2);

/// Something that a new user does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    verb: &'static str,
    what: &'static str,
    budget: Duration,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

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

/// Makes a clone and takes the steps in it.
pub(crate) fn run(steps: &[Step], deadline: Deadline) -> anyhow::Result<Outcome> {
    let scratch = tempfile::Builder::new().prefix("baton-fresh-").tempdir()?;
    let user = NewUser { clone: scratch.path().join("baton"), home: scratch.path().join("home") };
    let status = Command::new("git").args(["clone", "--quiet", "."]).arg(&user.clone).status()?;
    if !status.success() {
        bail!("git clone failed ({status})");
    }
    fs::create_dir(&user.home)?;
    let mut outcome = Outcome::default();
    for &Step { verb, what, budget } in steps {
        let began = Instant::now();
        let figures = user.make(verb, deadline);
        let took = began.elapsed();
        if verb == "demo" {
            // It leaves its cluster up for a look.
            user.make("cluster-down", Deadline::after(DOWN_LIMIT))?;
        }
        outcome.recorded.extend(figures.with_context(|| format!("`make {verb}`, {what}"))?);
        if took > budget {
            bail!(
                "`make {verb}`, {what}, took {} s; {} s is its budget",
                took.as_secs(),
                budget.as_secs()
            );
        }
        outcome.tests += 1;
        let value = format!("{} of {} s", took.as_secs(), budget.as_secs());
        outcome.recorded.push(Recorded::figure(&format!("make {verb}"), what, value));
    }
    Ok(outcome)
}

/// Somebody with a clone and an empty home.
struct NewUser {
    clone: PathBuf,
    home: PathBuf,
}

impl NewUser {
    /// Runs `make VERB`, and returns the figures that it recorded itself.
    fn make(&self, verb: &str, deadline: Deadline) -> anyhow::Result<Vec<Recorded>> {
        let figures = tempfile::NamedTempFile::new()?;
        let mut make = Command::new("make");
        make.arg(verb).current_dir(&self.clone).env_clear();
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                make.env(name, value);
            }
        }
        // Module files are read-only by default, and could not be removed afterwards.
        make.env("GOFLAGS", "-modcacherw").env("HOME", &self.home).env("PATH", path()?);
        make.env("BATON_FIGURES", figures.path());
        command::run(&mut make, deadline, |_| {})?;
        Ok(Recorded::read(&fs::read_to_string(figures.path())?))
    }
}

/// Our own path, with the compilers themselves in front of what only finds them by HOME.
fn path() -> anyhow::Result<std::ffi::OsString> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    let rust = PathBuf::from(sysroot.trim()).join("bin");
    let ours = std::env::var_os("PATH").context("no PATH")?;
    Ok(std::env::join_paths(std::iter::once(rust).chain(std::env::split_paths(&ours)))?)
}
