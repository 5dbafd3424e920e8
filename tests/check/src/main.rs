//! `baton-check`: what stands behind `make test`, `make test-full` and `make show`.
//!
//! A target is a named group of checks; a tier is a kind of target. Whatever runs, the end of the
//! output says what was measured, which tiers ran, and how many tests each had. A tier that cannot
//! run is a failure.

mod cluster;
mod command;
mod fresh;
mod panics;
mod report;
mod targets;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::targets::{Extent, TARGETS, Target};

/// Runs the project's checks.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// What every change must pass
    Test,
    /// Every target, but those of many hours
    TestFull,
    /// One target; without a name, list them
    Show {
        /// The target's name
        target: Option<String>,
    },
}

#[expect(clippy::print_stderr, reason = "errors are for people")]
fn main() -> ExitCode {
    match run(Command::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("baton-check: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Did everything pass?
fn run(verb: Verb) -> anyhow::Result<bool> {
    std::env::set_current_dir(workspace())?;
    let all_of = |extent| TARGETS.iter().filter(move |target| target.is_in(extent)).collect();
    let (targets, extent): (Vec<&Target>, Extent) = match verb {
        Verb::Test => (all_of(Extent::Test), Extent::Test),
        Verb::TestFull => (all_of(Extent::Full), Extent::Full),
        Verb::Show { target: None } => {
            targets::list();
            return Ok(true);
        }
        Verb::Show { target: Some(name) } => {
            let target = TARGETS.iter().find(|target| target.name == name);
            let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
            let target =
                target.with_context(|| format!("no target `{name}`; there are {}", known()))?;
            (vec![target], Extent::Named)
        }
    };
    let mut report = Report::default();
    for target in targets {
        target.run(extent, &mut report);
    }
    Ok(report.print())
}

/// The checkout that this program was built from.
fn workspace() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../..")
}
