//! `make demo`: a pool of relays on a real Kubernetes, a download through it, and an upgrade in the middle.
//!
//! Everything that matters is real and runs as a user would run it: helm installs the chart, a `RelayPool` makes the
//! relays, `baton expose` and `baton forward` run on two machines outside the cluster, and curl downloads a file.
#![allow(clippy::print_stdout, reason = "a demo is for people")]

mod download;
mod files;
mod fleet;
mod machine;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use baton_tests::figures;
use baton_tests::pool::outcomes;
use clap::{Parser, Subcommand};

use crate::download::Download;
use crate::files::Files;
use crate::fleet::Fleet;
use crate::machine::Machine;

/// How many bytes are downloaded.
const SIZE: u64 = 300 << 20;

/// How fast they are served: the download must last longer than the upgrade.
const BYTES_PER_SECOND: u64 = 8 << 20;

/// When the image is changed.
const CHANGE_AFTER: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show it
    Run,
    /// The web server of the demo
    Serve {
        /// The file to serve
        file: PathBuf,
        /// Where
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// How fast
        #[arg(long)]
        bytes_per_second: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Command::parse().verb {
        Verb::Run => run().await,
        Verb::Serve { file, listen, bytes_per_second } => {
            server::serve(file, listen, bytes_per_second).await.map(|()| true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells how it went: whether nothing was lost.
async fn run() -> anyhow::Result<bool> {
    let started = Instant::now();
    let say = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f32());
    let fleet = Fleet::start(&say).await?;
    say("three relays serve; two machines outside the cluster attach to them");
    let files = Files::make(SIZE).await?;
    fleet.write_profile(&files).await?;
    let (server, user) = (Machine::new().await?, Machine::new().await?);
    let web = server.serve(&files, BYTES_PER_SECOND)?;
    let (_expose, service) = server.expose(&files).await?;
    say(&format!("machine 1: baton expose tcp {} --as web", machine::WEB));
    let _forward = user.forward(&files, &service).await?;
    say(&format!("machine 2: baton forward {} {}…/web", machine::LOCAL, &service[..8]));
    let download = Download::start(&user, &files)?;
    say(&format!("machine 2: curl downloads {} MiB through it", SIZE >> 20));
    tokio::time::sleep(CHANGE_AFTER).await;
    let rollout = fleet.change_image().await?;
    say("the image of the pool is changed");
    let done = fleet.watch(&download, rollout, SIZE, &say).await?;
    say("every relay was replaced; the download goes on");
    let outcome = download.finish(SIZE).await.context("the download")?;
    drop(web);
    let equal = files.are_equal().await?;

    let rollout =
        done.status.and_then(|status| status.rollout).context("the pool reports no rollout")?;
    println!();
    let figure = |what, value: String| figures::record("demo", what, value);
    figure("checksums", if equal { "equal" } else { "DIFFERENT" }.to_owned());
    figure("connections that curl needed", outcome.connections.to_string());
    figure("longest stall", format!("{} ms", outcome.longest_stall.as_millis()));
    figure("sessions", outcomes(&rollout));
    let good = equal
        && outcome.connections == 1
        && outcome.succeeded
        && rollout.forced == 0
        && rollout.unjudged == 0;
    println!();
    println!(
        "look around:           eval \"$(make -s cluster-env)\"; kubectl --namespace {} get relaypools,pods",
        fleet::NAMESPACE
    );
    println!("clean up:              make cluster-down");
    Ok(good)
}
