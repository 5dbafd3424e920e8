//! The command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use baton_cluster::address::NodeId;
use baton_cluster::control::{Ask, Component, Connection, ControlError, ProxyMode, Reply, Shape};
use baton_cluster::kube_program::KubeProgram;
use baton_cluster::node_init::{self, Act, Daemon, NodeSpec};
use baton_cluster::{names, preflight, run, supervisor};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};

use crate::up::{self, Up};

/// The exit status that says that no cluster is up, for scripts; any other failure is 1.
const NOT_UP: u8 = 3;

/// A real Kubernetes cluster in namespaces of this machine, with faults on order.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit status: 3 if no cluster is up, 1 for any other failure."
)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the cluster up; a cluster of this shape that is up is left as it is
    Up {
        /// Number of nodes, 1 to 9
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
        /// How kube-proxy implements Services
        #[arg(long, value_enum, default_value_t = ProxyMode::Nftables)]
        proxy_mode: ProxyMode,
        /// Port on 127.0.0.1 that leads to the API server
        #[arg(long, default_value_t = 16443)]
        api_port: u16,
        /// Install missing packages with apt-get
        #[arg(long)]
        install_packages: bool,
        /// Stay, and take the cluster down when standard input ends
        #[arg(long)]
        attached: bool,
        /// How many seconds another `up` or `down` may still be at work
        #[arg(long, default_value_t = 60)]
        wait_seconds: u64,
    },
    /// Make the machine ready for `up`: packages, and the Kubernetes programs
    Prepare {
        /// Install missing packages with apt-get
        #[arg(long)]
        install_packages: bool,
    },
    /// Take the cluster down, leaving nothing of it; remove what a killed one left
    Down,
    /// Show how the cluster is
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring an image archive (OCI layout or `docker save`) to every node
    LoadImage {
        /// The archive
        archive: PathBuf,
    },
    /// Print shell commands that make kubectl and helm use the cluster
    Env,
    /// Run a command inside a node
    NodeExec {
        /// The node: n1, n2, ...
        node: NodeId,
        /// Command and arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make and change outside clients, each behind a router with NAT
    Client {
        #[command(subcommand)]
        verb: ClientVerb,
    },
    /// Cut or restore a node's network cable
    Link {
        /// The node
        node: NodeId,
        /// Plugged in or not
        state: LinkState,
    },
    /// Start, stop, kill or freeze a daemon of a node
    Daemon {
        /// The node
        node: NodeId,
        /// The daemon
        daemon: Daemon,
        /// What to do to it
        act: Act,
    },
    /// Start, stop, kill or freeze a daemon of the control plane
    ControlPlane {
        /// The daemon
        component: Component,
        /// What to do to it
        act: Act,
    },
    /// Make a node forget every UDP flow
    FlushConntrack {
        /// The node
        node: NodeId,
    },
    #[command(hide = true)]
    Supervise { shape: String },
    #[command(hide = true)]
    NodeInit { spec: PathBuf },
}

#[derive(Subcommand)]
enum ClientVerb {
    /// Make a client
    Add { client: String },
    /// Remove a client
    Remove { client: String },
    /// Run a command on a client
    Exec {
        client: String,
        /// Command and arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make the client's router forget its mappings: new source ports
    Rebind { client: String },
    /// Give the client's router another public address
    Move { client: String },
    /// Lose packets in each direction
    Lose {
        client: String,
        /// Packets in a thousand; 0 ends it
        per_mille: u16,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LinkState {
    Up,
    Down,
}

/// Runs the process's command line to its end. Errors are one line on standard error.
pub(crate) fn run() -> ExitCode {
    let parsed = Command::try_parse().map_err(|error| {
        // Help, asked for or needed, and version are printed as they are.
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::DisplayVersion
        ) {
            error.exit();
        }
        // The first paragraph, as one line; usage and tips are for --help.
        let said = error.to_string();
        let paragraph = said.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = paragraph.split_whitespace().skip(1).collect();
        let what = words.join(" ");
        anyhow::anyhow!("{what} (see --help)")
    });
    match parsed.and_then(|command| command.verb.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor's standard error may lead to nobody any more.
            let _ = writeln!(std::io::stderr(), "baton-cluster: {error:#}");
            match error.downcast_ref() {
                Some(ControlError::NotUp) => ExitCode::from(NOT_UP),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

impl Verb {
    fn run(self) -> anyhow::Result<()> {
        // Process 1 of a node has threads, but no runtime.
        if let Self::NodeInit { spec } = self {
            let spec: NodeSpec = serde_json::from_slice(&std::fs::read(spec)?)?;
            return Ok(node_init::main(&spec)?);
        }
        // One thread: children die with the thread that started them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(self.run_async());
        // A thread may still wait for input that never comes: it is not waited for.
        runtime.shutdown_background();
        result
    }

    async fn run_async(self) -> anyhow::Result<()> {
        match self {
            Self::Up { nodes, proxy_mode, api_port, install_packages, attached, wait_seconds } => {
                let shape = Shape { nodes, proxy_mode, api_port };
                let wait = Duration::from_secs(wait_seconds);
                Up { shape, install_packages, attached, wait }.run().await
            }
            Self::Prepare { install_packages } => up::prepare(install_packages).await.map(drop),
            Self::Down => up::down().await,
            Self::Status { json } => status(json).await,
            Self::LoadImage { archive } => {
                let shown = archive.display().to_string();
                let archive = archive.canonicalize().with_context(|| shown)?;
                ask(Ask::LoadImage { archive }).await.map(drop)
            }
            Self::Env => env().await,
            Self::NodeExec { node, command } => node_exec(node, &command).await,
            Self::Client { verb } => verb.run().await,
            Self::Link { node, state } => {
                ask(Ask::Link { node, up: state == LinkState::Up }).await.map(drop)
            }
            Self::Daemon { node, daemon, act } => {
                ask(Ask::Daemon { node, daemon, act }).await.map(drop)
            }
            Self::ControlPlane { component, act } => {
                ask(Ask::ControlPlane { component, act }).await.map(drop)
            }
            Self::FlushConntrack { node } => ask(Ask::FlushConntrack { node }).await.map(drop),
            Self::Supervise { shape } => supervise(&shape).await,
            Self::NodeInit { .. } => Ok(()),
        }
    }
}

impl ClientVerb {
    async fn run(self) -> anyhow::Result<()> {
        let reply = match self {
            Self::Add { client } => ask(Ask::AddClient { client }).await?,
            Self::Remove { client } => ask(Ask::RemoveClient { client }).await?,
            Self::Rebind { client } => ask(Ask::RebindClient { client }).await?,
            Self::Move { client } => ask(Ask::MoveClient { client }).await?,
            Self::Lose { client, per_mille } => ask(Ask::LoseClient { client, per_mille }).await?,
            Self::Exec { client, command } => {
                let status = Connection::open().await?.status().await?;
                let known = status.clients.get(&client);
                let namespace = &known.with_context(|| format!("no client {client}"))?.namespace;
                return exec(&[run::enter_network(namespace)], &command);
            }
        };
        if let Reply::Client { public } = reply {
            print(&public.to_string());
        }
        Ok(())
    }
}

/// Asks for something that stays when this command ends.
async fn ask(ask: Ask) -> anyhow::Result<Reply> {
    Ok(Connection::open().await?.ask_for_good(ask).await?)
}

async fn status(json: bool) -> anyhow::Result<()> {
    let status = Connection::open().await?.status().await?;
    if json {
        print(&serde_json::to_string_pretty(&status)?);
    } else {
        print(status.to_string().trim_end());
    }
    Ok(())
}

async fn env() -> anyhow::Result<()> {
    let status = Connection::open().await?.status().await?;
    print(&format!("export KUBECONFIG={}", quoted(&status.kubeconfig)));
    // What kubectl remembers of this cluster goes with it.
    print(&format!("export KUBECACHEDIR={}", quoted(&names::kubectl_cache())));
    print(&format!("export PATH={}:\"$PATH\"", quoted(&status.programs)));
    Ok(())
}

/// A path as one word of a shell command, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

async fn node_exec(node: NodeId, command: &[OsString]) -> anyhow::Result<()> {
    let status = Connection::open().await?.status().await?;
    let process_1 = status.nodes.get(&node).with_context(|| format!("no node {node}"))?.process_1;
    // Our folder may not exist in the node's view.
    std::env::set_current_dir("/")?;
    let enter: Vec<OsString> = supervisor::enter(process_1).into_iter().map(Into::into).collect();
    exec(&enter, command)
}

/// Becomes `nsenter` and then `command`; returns only if that fails.
fn exec(enter: &[OsString], command: &[OsString]) -> anyhow::Result<()> {
    let error = std::process::Command::new("nsenter").args(enter).args(command).exec();
    Err(error).context("cannot run nsenter")
}

async fn supervise(shape: &str) -> anyhow::Result<()> {
    // A session of its own: neither Ctrl-C in the user's terminal nor its closing reaches it.
    rustix::process::setsid().context("a session of its own")?;
    let shape = serde_json::from_str(shape).context("not a shape")?;
    let machine = preflight::check()?;
    let programs = KubeProgram::get(|_| {}).await?;
    std::env::set_current_dir("/")?;
    supervisor::main(shape, machine, programs).await
}

fn print(line: &str) {
    // A reader that has seen enough, such as `head`, is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_path_as_it_was() {
        for path in ["/plain", "/with space", "/it's $HOME `id` \"x\" \\ *", "/new\nline"] {
            let script = format!("printf %s {}", quoted(Path::new(path)));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }
}
