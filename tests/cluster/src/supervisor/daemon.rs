//! A daemon that is the supervisor's own child.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::kube_program::tail;
use crate::node_init::{Act, DaemonState};
use crate::run::enter_network;

/// How long a daemon may take after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How many lines of a log a failure shows.
const TAIL_LINES: usize = 8;

/// A daemon, its command, and how it is.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    namespace: String,
    command: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    state: DaemonState,
}

/// A daemon that ended when it should not have.
#[derive(Debug, thiserror::Error)]
#[error("{name} {state}; its last lines are:\n{tail}\nthe whole log is {log}")]
pub struct DaemonEnded {
    name: String,
    state: DaemonState,
    tail: String,
    log: PathBuf,
}

impl DaemonEnded {
    /// An error if this state says that the daemon ended by itself.
    pub(super) fn check(name: &str, state: DaemonState, log: &Path) -> Result<(), Self> {
        match state {
            DaemonState::Exited(_) => {
                let (name, log) = (name.to_owned(), log.to_owned());
                Err(Self { name, state, tail: tail(&log, TAIL_LINES), log })
            }
            _ => Ok(()),
        }
    }
}

impl Daemon {
    pub(super) fn new(name: &str, namespace: &str, command: Vec<String>, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            command,
            log: logs.join(format!("{name}.log")),
            child: None,
            state: DaemonState::New,
        }
    }

    pub(super) async fn act(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Start => self.start(),
            Act::Stop => self.end(Signal::TERM).await,
            Act::Kill => self.end(Signal::KILL).await,
            Act::Freeze => {
                self.signal(Signal::STOP)?;
                self.state = DaemonState::Frozen;
                Ok(())
            }
        }
    }

    /// How it is; notices when it ended by itself.
    pub(super) fn state(&mut self) -> DaemonState {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.child = None;
            self.state = DaemonState::Exited(status.to_string());
        }
        self.state.clone()
    }

    /// Has it ended by itself?
    pub(super) fn check(&mut self) -> Result<(), DaemonEnded> {
        let state = self.state();
        DaemonEnded::check(&self.name, state, &self.log)
    }

    fn start(&mut self) -> io::Result<()> {
        match self.state() {
            DaemonState::Running => return Ok(()),
            DaemonState::Frozen => {
                self.signal(Signal::CONT)?;
                self.state = DaemonState::Running;
                return Ok(());
            }
            DaemonState::New | DaemonState::Stopped | DaemonState::Exited(_) => {}
        }
        self.child = Some(spawn(&self.namespace, &self.command, &self.log, Stdio::null(), None)?);
        self.state = DaemonState::Running;
        Ok(())
    }

    async fn end(&mut self, signal: Signal) -> io::Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(signal)?;
        // A frozen process sees SIGTERM only when it goes on.
        self.signal(Signal::CONT)?;
        if let Some(child) = &mut self.child
            && timeout(STOP_GRACE, child.wait()).await.is_err()
        {
            child.kill().await?;
        }
        self.child = None;
        self.state = DaemonState::Stopped;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = self.child.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other(format!("{} does not run", self.name)))?;
        Ok(kill_process(pid, signal)?)
    }
}

/// Starts `command` in a network namespace; it dies with this process, however that ends.
///
/// `setpriv` sets the parent-death signal, which survives the `nsenter` that follows. The signal comes
/// when the *thread* that started the process ends: the supervisor's runtime has one thread, which is
/// the process's first.
pub(super) fn spawn(
    namespace: &str,
    command: &[String],
    log: &Path,
    input: Stdio,
    output: Option<Stdio>,
) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let output = match output {
        Some(output) => output,
        None => log.try_clone()?.into(),
    };
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "nsenter"])
        .arg(enter_network(namespace))
        .arg("--")
        .args(command)
        .stdin(input)
        .stdout(output)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
