//! Process 1 of a node: it puts the node's own folders in the places that daemons expect, is the
//! parent of the daemons, and reaps what they orphan.
//!
//! It runs in the node's own network, mount, host name and pid namespaces. It takes orders as JSON
//! lines on standard input, answers each with a line on standard output, and ends when its input
//! does; with it the kernel ends every process of the node.

mod children;
mod mounts;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use children::Children;

/// What a node is made of; the supervisor writes it to a file that process 1 reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The host name.
    pub hostname: String,
    /// The node's own folder, on the machine's disk.
    pub folder: PathBuf,
    /// The cluster's state folder, visible in the node at the same path.
    pub state: PathBuf,
    /// The folder with the Kubernetes programs, visible in the node as `<folder>/bin`.
    pub programs: PathBuf,
    /// The daemons, by name.
    pub daemons: BTreeMap<Daemon, DaemonSpec>,
}

/// The daemons of a node.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// The container runtime.
    Containerd,
    /// The node agent.
    Kubelet,
    /// The Service proxy.
    KubeProxy,
}

impl Daemon {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Containerd, Self::Kubelet, Self::KubeProxy];
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        })
    }
}

/// How a daemon is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its output is appended to this file.
    pub log: PathBuf,
}

/// What can be done to a daemon, of a node or of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Start it, or let it go on where it was frozen; nothing where it runs.
    Start,
    /// SIGTERM, and after 10 s SIGKILL; returns when it is gone.
    Stop,
    /// SIGKILL; returns when it is gone.
    Kill,
    /// SIGSTOP: it is there, but does nothing.
    Freeze,
}

/// How a daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonState {
    /// It was not started yet.
    New,
    /// It runs.
    Running,
    /// It was frozen by order.
    Frozen,
    /// It was ended by order.
    Stopped,
    /// It ended by itself: how.
    Exited(String),
}

impl fmt::Display for DaemonState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not started"),
            Self::Running => f.write_str("running"),
            Self::Frozen => f.write_str("frozen"),
            Self::Stopped => f.write_str("stopped"),
            Self::Exited(how) => write!(f, "exited ({how})"),
        }
    }
}

/// An order to process 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Do this to that daemon.
    Daemon(Daemon, Act),
    /// Only answer.
    Report,
}

/// The answer to an order: how every daemon is now, or why the order failed.
pub type Answer = Result<BTreeMap<Daemon, DaemonState>, String>;

/// Runs process 1 to the end of its input.
///
/// # Errors
/// When the mounts cannot be made; the first answer then says so.
pub fn main(spec: &NodeSpec) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let prepared = mounts::prepare(spec);
    let children = Children::new(spec.daemons.clone())?;
    let first: Answer = match &prepared {
        Ok(()) => Ok(children.states()),
        Err(error) => Err(error.to_string()),
    };
    answer(&mut out, &first)?;
    prepared?;
    for line in io::stdin().lock().lines() {
        let done = match serde_json::from_str(&line?) {
            Ok(Order::Report) => Ok(children.states()),
            Ok(Order::Daemon(daemon, act)) => {
                children.act(daemon, act).map(|()| children.states()).map_err(|e| e.to_string())
            }
            Err(error) => Err(format!("not an order: {error}")),
        };
        answer(&mut out, &done)?;
    }
    Ok(())
}

fn answer(out: &mut impl io::Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}
