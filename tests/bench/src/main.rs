//! `baton-bench`: what a relay costs, beside a raw forwarder of UDP and a bare loop of quinn, in interleaved windows of one
//! run on loopback. Each relay is a process of its own; all clients are in this one.

mod bare;
mod crowds;
mod forwarder;
mod link;
mod machine;
mod process;
mod quinn_loop;
mod report;
mod session;
mod sessions;
mod stats;
mod subject;
mod windows;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use baton_client::Profile;
use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::crowds::{crowd, handshakes};
use crate::link::Link;
use crate::machine::Machine;
use crate::report::{Measured, SUBJECTS};
use crate::subject::{Auth, Baton, Ground, POOL, Process, SERVER_NAME};
use crate::windows::{Clients, Load, Subject, Window, interleave};

/// Links through each relay: twice as many peers.
const LINKS: u64 = 100;

/// What Baton's relays cost.
#[derive(Debug, Parser)]
#[command(name = "baton-bench")]
struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure, and print the tables
    Run(RunFlags),
    /// Forward raw UDP; one of the relays that are compared
    #[command(hide = true)]
    UdpForwarder,
    /// Relay datagrams with quinn and nothing else; one of the relays that are compared
    #[command(hide = true)]
    QuinnLoop {
        /// The folder with `tls.crt` and `tls.key`
        tls: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunFlags {
    /// The relay's program, as it goes into an image
    #[arg(long, value_name = "FILE", default_value = "target/image/baton-relay")]
    relay: PathBuf,
    /// Shorter windows, fewer sessions: two minutes
    #[arg(long)]
    quick: bool,
    /// Only one part: to see whether a change moves something
    #[arg(long, value_name = "PART", conflicts_with_all = ["write", "json"])]
    only: Option<Part>,
    /// With --only: another build of baton-relay, beside which this one is measured
    #[arg(long, value_name = "FILE", requires = "only")]
    beside: Option<PathBuf>,
    /// With --only: the clients have one thread, which never sleeps: no relay pays for waking it
    #[arg(long, requires = "only")]
    awake: bool,
    /// Writes the tables into this document, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Writes every window there, as JSON lines
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part that can be measured alone.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Part {
    /// What a datagram costs under this load.
    Bulk,
    /// The same.
    Sparse,
    /// The same.
    Lone,
    /// The same.
    Light,
    /// What a handshake costs.
    Handshakes,
    /// Idle sessions, and GOAWAY to all of them.
    Sessions,
}

impl Part {
    /// None: it is no load.
    const fn load(self) -> Option<Load> {
        match self {
            Self::Bulk => Some(Load::Bulk),
            Self::Sparse => Some(Load::Sparse),
            Self::Lone => Some(Load::Lone),
            Self::Light => Some(Load::Light),
            Self::Handshakes | Self::Sessions => None,
        }
    }
}

/// How much is measured.
struct Extent {
    rounds: usize,
    window: Duration,
    handshakes: usize,
    sessions: usize,
    drains: usize,
}

impl Extent {
    const FULL: Self = Self {
        rounds: 24,
        window: Duration::from_millis(800),
        handshakes: 100,
        sessions: 10_000,
        drains: 5,
    };
    const QUICK: Self = Self {
        rounds: 20,
        window: Duration::from_millis(250),
        handshakes: 50,
        sessions: 2_000,
        drains: 3,
    };
}

#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
fn main() -> ExitCode {
    let done = match Flags::parse().verb {
        Verb::Run(flags) if flags.awake => {
            on(tokio::runtime::Builder::new_current_thread(), run(&flags))
        }
        Verb::Run(flags) => on(tokio::runtime::Builder::new_multi_thread(), run(&flags)),
        // One thread, like the relay's.
        Verb::UdpForwarder => on(tokio::runtime::Builder::new_current_thread(), forwarder::run()),
        Verb::QuinnLoop { tls } => {
            on(tokio::runtime::Builder::new_current_thread(), quinn_loop::run(&tls))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn on(
    mut runtime: tokio::runtime::Builder,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    runtime.enable_all().build()?.block_on(work)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what it is for")]
async fn run(flags: &RunFlags) -> anyhow::Result<()> {
    let extent = if flags.quick { Extent::QUICK } else { Extent::FULL };
    // Made before the run, so that ten minutes are not lost to a wrong path.
    let json = flags.json.as_ref().map(|path| {
        File::create(path).with_context(|| format!("{} cannot be written", path.display()))
    });
    let json = json.transpose()?;
    let started = Instant::now();
    let say = |what: &str| eprintln!("{:5.0} s  {what}", started.elapsed().as_secs_f32());
    let machine = Machine::here();
    let ground = Ground::new(flags.relay.clone())?;

    let beside = flags.beside.as_deref();
    if flags.awake && flags.only.and_then(Part::load).is_none() {
        bail!("--awake is for loads of datagrams: bulk, sparse, lone, light");
    }
    if let Some(Part::Handshakes) = flags.only {
        say("handshakes");
        let handshakes = handshakes(&ground, beside, extent.rounds, extent.handshakes).await?;
        println!("{}", report::handshakes(&handshakes)?);
        return Ok(());
    }
    if let Some(Part::Sessions) = flags.only {
        if beside.is_some() {
            bail!("--beside is for handshakes and loads of datagrams");
        }
        say(&format!("{} sessions, and GOAWAY to all of them", extent.sessions));
        println!("{}", report::crowd(&crowd(&ground, extent.sessions, extent.drains).await?));
        return Ok(());
    }
    say("relays start, and their clients attach");
    let relayed = Relayed::start(&ground, beside).await?;
    if let Some(load) = flags.only.and_then(Part::load) {
        let clients = if flags.awake { Clients::Awake } else { Clients::Asleep };
        let windows = relayed.windows(load, clients, &extent).await?;
        println!("{}", report::cost(&windows, beside.is_some())?);
        return Ok(());
    }
    say("bulk");
    let bulk = relayed.windows(Load::Bulk, Clients::Asleep, &extent).await?;
    say("sparse");
    let sparse = relayed.windows(Load::Sparse, Clients::Asleep, &extent).await?;
    say("one alone");
    let lone = relayed.windows(Load::Lone, Clients::Asleep, &extent).await?;
    say("latency");
    let light = relayed.windows(Load::Light, Clients::Asleep, &extent).await?;
    drop(relayed);

    say("handshakes");
    let handshakes = handshakes(&ground, None, extent.rounds, extent.handshakes).await?;
    say(&format!("{} sessions, and GOAWAY to all of them", extent.sessions));
    let crowd = crowd(&ground, extent.sessions, extent.drains).await?;
    say("done");

    let measured =
        Measured { machine, quick: flags.quick, bulk, sparse, lone, light, handshakes, crowd };
    let report = measured.markdown()?;
    println!("\n{report}");
    if let Some(mut json) = json {
        measured.lines().iter().try_for_each(|line| writeln!(json, "{line}"))?;
    }
    match &flags.write {
        Some(path) => report::write_into(path, &report),
        None => Ok(()),
    }
}

/// The relays that carry datagrams, and all links through them.
struct Relayed {
    /// In the order of [`SUBJECTS`], and another build of ours if there is one.
    subjects: Vec<Subject>,
    /// By Baton's clients, through the relay of the first.
    clients: Subject,
    /// Without a relay.
    direct: Subject,
    _processes: Vec<Process>,
    _batons: Vec<Baton>,
}

impl Relayed {
    async fn start(ground: &Ground, beside: Option<&Path>) -> anyhow::Result<Self> {
        let (raw, bare) = (Process::forwarder()?, Process::quinn_loop(ground)?);
        let baton = Baton::start(ground, Auth::Token, "relayed").await?;
        let (config, session_config) = (bare::config(ground)?, bare::session_config(ground)?);
        let token = Bytes::from(ground.token.clone());
        let mut links = [const { Vec::new() }; 3];
        for pair in 0..LINKS {
            links[0].push(Link::raw(raw.address, pair).await?);
            links[1].push(Link::quinn(bare.address, pair, &config).await?);
            links[2].push(Link::session(baton.process.address, &session_config, &token).await?);
        }
        let clients = Subject {
            name: "baton-relay, by Baton's clients",
            pid: Some(baton.process.pid()),
            links: Arc::new(vec![Link::client(&profile(ground, &baton)?).await?]),
        };
        let direct = Link::direct(quinn_loop::server(&ground.tls())?, &config).await?;
        let pids = [raw.pid(), bare.pid(), baton.process.pid()];
        let mut subjects: Vec<_> = SUBJECTS
            .into_iter()
            .zip(pids)
            .zip(links)
            .map(|((name, pid), links)| Subject { name, pid: Some(pid), links: Arc::new(links) })
            .collect();
        let direct = Subject { name: "no relay", pid: None, links: Arc::new(vec![direct]) };
        let mut batons = vec![baton];
        if let Some(program) = beside {
            let other = Baton::start_program(program, ground, Auth::Token, "other").await?;
            let (address, mut links) = (other.process.address, Vec::new());
            for _ in 0..LINKS {
                links.push(Link::session(address, &session_config, &token).await?);
            }
            let pid = Some(other.process.pid());
            subjects.push(Subject { name: "the other baton-relay", pid, links: Arc::new(links) });
            batons.push(other);
        }
        Ok(Self { subjects, clients, direct, _processes: vec![raw, bare], _batons: batons })
    }

    async fn windows(
        &self,
        load: Load,
        clients: Clients,
        extent: &Extent,
    ) -> anyhow::Result<Vec<Vec<Window>>> {
        let mut subjects: Vec<_> = self.subjects.iter().collect();
        if let Load::Light = load {
            subjects[report::BATON] = &self.clients;
            subjects.push(&self.direct);
        }
        interleave(&subjects, (load, clients), extent.rounds, extent.window).await
    }
}

/// What a client of the pool is configured with.
fn profile(ground: &Ground, relay: &Baton) -> anyhow::Result<Profile> {
    let profile = json!({
        "addresses": [relay.process.address.to_string()],
        "serverName": SERVER_NAME,
        "audience": POOL,
        "ca": ground.certificate_pem,
        "token": ground.token,
    });
    Ok(Profile::from_json(profile.to_string().as_bytes())?)
}
