//! The process that owns the cluster: it brings it up, serves requests, and takes it down.
//!
//! Every daemon is its descendant and dies with it, so that even a killed supervisor leaves only
//! things without a will of their own (namespaces, control groups, files), which the next `up` or
//! `down` finds by their names. Taking down is the same: kill, then remove by name.

mod api;
mod balancer;
mod cluster;
mod control_plane;
mod daemon;
mod memory;
mod network;
mod node;
mod node_config;
mod outside;
mod server;
mod splice;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_image::{Binary, Image};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::cluster::Cluster;
pub use self::daemon::DaemonEnded;
pub use self::node::enter;
use self::server::Server;
use crate::cgroup::CgroupError;
use crate::control::Shape;
use crate::kube_program::KubeProgram;
use crate::leftovers::{Leftovers, LeftoversError};
use crate::lock::StateLock;
use crate::names;
use crate::pki::{Pki, PkiError};
use crate::preflight::Machine;
use crate::run::CommandError;

/// What the supervisor says on standard output while it starts, as JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Somebody else holds the lock: the process id, where it is known.
    Locked(Option<u32>),
    /// A step is done.
    Step(String),
    /// The cluster is up.
    Ready,
    /// It could not be brought up: why. When the process ends, everything is gone but the logs.
    Failed(String),
}

/// What the starting process writes on the supervisor's standard input once the cluster is up, to let
/// it live on its own. Until then, and without it, the end of the input ends the cluster.
pub const DETACH: &str = "detach";

/// Everything that the parts of a cluster are made from.
#[derive(Debug)]
struct Setup {
    shape: Shape,
    machine: Machine,
    programs: KubeProgram,
    pki: Pki,
    state: PathBuf,
    own_program: PathBuf,
}

/// Why the cluster did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program of the system failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A daemon ended.
    #[error(transparent)]
    Daemon(#[from] DaemonEnded),
    /// A control group could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Something of a predecessor could not be removed.
    #[error("cannot remove what an earlier cluster left: {0}")]
    Leftovers(#[from] LeftoversError),
    /// The API server could not be asked.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// Its kubeconfig could not be used.
    #[error("the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Something took too long.
    #[error("{what} did not happen within {seconds} s; the logs are in {logs}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// Where to look.
        logs: PathBuf,
    },
    /// A file, socket or process could not be had.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The starting process went away, or a signal came.
    #[error("interrupted")]
    Interrupted,
}

impl StartError {
    fn at(what: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let what = what.to_owned();
        |source| Self::Io { what, source }
    }
}

/// Runs the supervisor to its end. Standard output bears [`Event`]s until the cluster is up.
///
/// # Errors
/// When the cluster could not be brought up, or not be taken down.
pub async fn main(shape: Shape, machine: Machine, programs: KubeProgram) -> anyhow::Result<()> {
    let state = names::state_dir();
    let Some(lock) = StateLock::take(&state)? else {
        say(&Event::Locked(holder()));
        return Ok(());
    };
    let mut end = End::new()?;
    let mut reporter = Reporter { started: Instant::now() };
    let started = {
        let starting = start(&mut reporter, shape, machine.clone(), programs);
        tokio::select! {
            started = starting => started,
            () = end.comes() => Err(StartError::Interrupted),
        }
    };
    let (cluster, server) = match started {
        Ok((cluster, server)) => (Arc::new(cluster), server),
        Err(error) => {
            // First: what goes wrong in the cleaning must not hide why there is something to clean.
            tracing::error!(%error, "the cluster did not come up");
            say(&Event::Failed(error.to_string()));
            remove_all_but_logs(&machine).await?;
            return Err(error.into());
        }
    };
    say(&Event::Ready);
    let mut broken = None;
    let ends = async {
        tokio::select! {
            () = end.comes() => {}
            why = cluster.breaks() => broken = Some(why),
        }
    };
    let asked_down = server.serve(&cluster, ends).await;
    // Dropping the cluster kills every daemon; the rest goes by name.
    drop(cluster);
    if let Some(why) = broken {
        tracing::error!(why, "a part of the cluster ended, and the cluster with it");
        remove_all_but_logs(&machine).await?;
        anyhow::bail!("a part of the cluster ended: {why}");
    }
    Leftovers::find(&machine.cgroups).remove(&machine.cgroups).await?;
    lock.remove()?;
    asked_down.answer().await;
    Ok(())
}

/// Does a supervisor, or a `down`, hold the lock?
///
/// # Errors
/// When the state folder cannot be looked at.
pub fn is_locked() -> io::Result<bool> {
    StateLock::is_held(&names::state_dir())
}

/// The process that holds the lock, if it wrote its number.
fn holder() -> Option<u32> {
    fs::read_to_string(names::state_dir().join(PID_FILE)).ok()?.trim().parse().ok()
}

const PID_FILE: &str = "supervisor.pid";

async fn start(
    reporter: &mut Reporter,
    shape: Shape,
    machine: Machine,
    programs: KubeProgram,
) -> Result<(Cluster, Server), StartError> {
    let state = names::state_dir();
    let left = Leftovers::find(&machine.cgroups);
    left.remove(&machine.cgroups).await?;
    clear(&state, None).map_err(StartError::at("clearing the state folder"))?;
    let own_number = std::process::id().to_string();
    fs::write(state.join(PID_FILE), own_number).map_err(StartError::at(PID_FILE))?;
    fs::create_dir_all(names::log_dir()).map_err(StartError::at("log folder"))?;
    keep_log().map_err(StartError::at("the supervisor's log"))?;
    // Empty but for the folder itself, which is how every start begins.
    let nothing = Leftovers { state: true, ..Leftovers::default() };
    if left != nothing {
        reporter.step(&format!("removed what an earlier cluster left: {left}"));
    }
    let listener =
        splice::bind(shape.api_port).await.map_err(StartError::at("the API server's port"))?;
    let pki = Pki::create(&names::pki_dir(), shape.nodes, shape.api_port)?;
    let pause = state.join(node_config::PAUSE_ARCHIVE);
    write_pause_image(&programs, &pause).map_err(StartError::at("the pause image"))?;
    let own_program =
        std::env::current_exe().map_err(StartError::at("the path of this program"))?;
    let setup = Setup { shape, machine, programs, pki, state, own_program };
    let cluster = Cluster::start(setup, listener, reporter).await?;
    // Before the cluster is called up: whoever hears of it may ask at once.
    let server =
        Server::bind(&names::control_socket()).map_err(StartError::at("the control socket"))?;
    Ok((cluster, server))
}

/// From here on, what is traced goes to a file of its own, and so does standard error, which the
/// starting process will not read for ever: a panic leaves its message there.
fn keep_log() -> io::Result<()> {
    let file = fs::File::create(names::log_dir().join("supervisor.log"))?;
    rustix::stdio::dup2_stderr(&file)?;
    let level = tracing_subscriber::EnvFilter::new("info,kube=warn");
    tracing_subscriber::fmt().with_env_filter(level).with_ansi(false).with_writer(file).init();
    Ok(())
}

fn write_pause_image(programs: &KubeProgram, archive: &Path) -> io::Result<()> {
    let binary = Binary::new(fs::read(programs.component("pause"))?).map_err(io::Error::other)?;
    let name = node_config::PAUSE_IMAGE.parse().map_err(io::Error::other)?;
    let image = Image { name, program: "pause".into(), binary, labels: Vec::new() };
    image.archive(fs::File::create(archive)?)?;
    Ok(())
}

/// After a failure: everything goes but the logs, which say why.
async fn remove_all_but_logs(machine: &Machine) -> anyhow::Result<()> {
    let removed = Leftovers::find(&machine.cgroups).remove(&machine.cgroups).await;
    // The files go in any case.
    clear(&names::state_dir(), Some(&names::log_dir()))?;
    Ok(removed?)
}

/// Empties a folder, but for one entry.
fn clear(folder: &Path, keep: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if Some(path.as_path()) == keep {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What ends the cluster from outside: a signal, or the end of the starting process before it let go.
struct End {
    interrupt: Signal,
    terminate: Signal,
    input: Lines<BufReader<pipe::Receiver>>,
    detached: bool,
}

impl End {
    fn new() -> io::Result<Self> {
        // As a pipe, not as `tokio::io::stdin`, whose thread would hold up the process's end.
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            input: BufReader::new(pipe::Receiver::from_owned_fd(input)?).lines(),
            detached: false,
        })
    }

    async fn comes(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                line = self.input.next_line(), if !self.detached => match line {
                    Ok(Some(line)) => self.detached = line == DETACH,
                    _ => return,
                },
            }
        }
    }
}

/// Tells the starting process what is done, and the log when.
struct Reporter {
    started: Instant,
}

impl Reporter {
    fn step(&mut self, what: &str) {
        let elapsed = self.started.elapsed();
        tracing::info!(?elapsed, what);
        say(&Event::Step(format!("{:6.1} s  {what}", elapsed.as_secs_f64())));
    }
}

fn say(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        // Nobody may listen any more; then nobody misses it.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// A connection that could not be accepted is still there, and so is the reason, such as too many open
/// files: an immediate next try would only burn time.
async fn pause_after_failed_accept(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// How long each step of a start may take. All are far above what was ever seen.
const STEP_DEADLINE: Duration = Duration::from_secs(90);

/// Waits until `done` says so, looking every 50 ms. An error says that it never will.
async fn wait_until(
    what: &str,
    mut done: impl AsyncFnMut() -> Result<bool, StartError>,
) -> Result<(), StartError> {
    let started = Instant::now();
    while !done().await? {
        if started.elapsed() > STEP_DEADLINE {
            return Err(StartError::Deadline {
                what: what.to_owned(),
                seconds: STEP_DEADLINE.as_secs(),
                logs: names::log_dir(),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
