//! `testpod`: a pod that does what a test tells it.
//!
//! It answers UDP datagrams with its own name, is ready or not by order, says when a file in it
//! changed, and ends in the way that was asked for. The tests use it to learn what Kubernetes does
//! to a pod's traffic, without any of Baton's own code in the way.

mod echo;
mod readiness;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The kubelet reads a container's termination message from here unless the pod says otherwise.
const TERMINATION_MESSAGE: &str = "/dev/termination-log";

/// A pod that does what a test tells it.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The name in every echo
    #[arg(long, env = "POD_NAME", default_value = "nameless")]
    name: String,
    /// UDP port that echoes; 0 takes any free one
    #[arg(long, default_value_t = 9000)]
    udp_port: u16,
    /// HTTP port of /ready; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// File whose content is printed at each change, as a JSON line
    #[arg(long)]
    watch: Option<PathBuf>,
    /// Seconds to go on as before after SIGTERM
    #[arg(long, default_value_t = 0)]
    linger_seconds: u64,
    /// Left as the container's termination message
    #[arg(long)]
    termination_message: Option<String>,
}

// One thread, on purpose: thirty of these share two cores with the cluster that runs them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Before anything else: a pod that is told to end while it starts must still end its own way.
    let mut terminate = signal(SignalKind::terminate())?;

    let mut tasks = JoinSet::new();
    tasks.spawn(echo::serve(any(args.udp_port), args.name));
    tasks.spawn(readiness::serve(any(args.http_port)));
    if let Some(path) = args.watch {
        tasks.spawn(watch::report_changes(path));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        // None of them ends but by an error.
        Some(ended) = tasks.join_next() => ended??,
    }
    tokio::time::sleep(Duration::from_secs(args.linger_seconds)).await;
    if let Some(message) = args.termination_message {
        std::fs::write(TERMINATION_MESSAGE, message)?;
    }
    Ok(())
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}
