//! `baton-load`: load against a pool, or against relays of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use baton_client::Profile;
use baton_tests::fleet::Fleet;
use baton_tests::load::{Mix, Plan, run};
use clap::{ArgGroup, Parser};

/// Thousands of peers that talk in pairs, change addresses, come, go and vanish: what they lost, and how they failed.
/// Exit 1: something was lost, came twice or broke.
#[derive(Debug, Parser)]
#[command(name = "baton-load", group = ArgGroup::new("where").required(true))]
struct Flags {
    /// The pool: its profile.json, with a token for any peer of a group if the pool demands tokens
    #[arg(long, group = "where", value_name = "FILE")]
    profile: Option<PathBuf>,
    /// So many relays in this process
    #[arg(long, group = "where", value_name = "COUNT")]
    loopback: Option<usize>,
    /// How many peers, at any time
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = at_least_two)]
    peers: usize,
    /// What they do, by shares
    #[arg(long, default_value = "idle=80,sparse=14,bulk=2,streams=4", value_name = "SHARES")]
    mix: Mix,
    /// How long, in seconds, once all are there
    #[arg(long = "for", default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// How many attach per second at the start
    #[arg(long, default_value_t = 200.0, value_name = "RATE", value_parser = rate)]
    attach: f64,
    /// The share of pairs with a peer whose address changes, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    rebinding: f64,
    /// How often it changes, in seconds
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = rate)]
    rebind_every: f64,
    /// How many leave per second, and are replaced
    #[arg(long, default_value_t = 0.0, value_name = "RATE", value_parser = rate)]
    churn: f64,
    /// How many further ones come per second, and vanish
    #[arg(long, default_value_t = 0.0, value_name = "RATE", value_parser = rate)]
    ghosts: f64,
    /// Writes the report there too, as JSON lines
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1e6).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is no number from 0 to 1,000,000")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text)
}

fn share(text: &str) -> Result<f64, String> {
    number(text)
        .ok()
        .filter(|share| *share <= 1.0)
        .ok_or_else(|| format!("'{text}' is no share from 0 to 1"))
}

fn at_least_two(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|peers| *peers >= 2)
        .ok_or_else(|| format!("'{text}': it takes two peers to talk"))
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
async fn main() -> ExitCode {
    match load(Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("baton-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Carries it out. Whether all was well.
#[expect(clippy::print_stdout, reason = "what it is for")]
async fn load(flags: Flags) -> anyhow::Result<bool> {
    let fleet = match flags.loopback {
        Some(relays) => Some(Fleet::start(relays).await),
        None => None,
    };
    let profile = match (&fleet, &flags.profile) {
        (Some(fleet), _) => Profile::clone(&fleet.client(0).profile),
        (None, Some(path)) => Profile::read(path)?,
        // One of the two is required.
        (None, None) => anyhow::bail!("neither --profile nor --loopback"),
    };
    // Made before the load, so that an hour of it is not lost to a wrong path.
    let json = flags.json.as_ref().map(|path| {
        File::create(path).with_context(|| format!("{} cannot be written", path.display()))
    });
    let json = json.transpose()?;
    let plan = Plan {
        peers: flags.peers,
        mix: flags.mix,
        duration: Duration::from_secs(flags.seconds),
        attach_per_second: flags.attach,
        rebinding: flags.rebinding,
        rebind_every: Duration::from_secs_f64(flags.rebind_every.max(0.1)),
        churn_per_second: flags.churn,
        ghosts_per_second: flags.ghosts,
    };
    let report = run(&plan, &profile).await;
    println!("{report}");
    if let Some(mut json) = json {
        for line in report.lines() {
            writeln!(json, "{line}")?;
        }
    }
    if let Some(fleet) = fleet {
        fleet.stop().await;
    }
    let whole = |tally: &baton_tests::load::Tally| {
        tally.lost() == 0 && tally.duplicated == 0 && tally.broken.is_empty()
    };
    Ok(report.tallies.values().all(whole) && report.counted.failures.is_empty())
}
