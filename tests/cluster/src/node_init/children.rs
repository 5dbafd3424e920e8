//! The daemons of a node, and the orphans that fall to process 1.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, wait, waitid,
};

use super::{Act, Daemon, DaemonSpec, DaemonState};

/// How long a daemon may take after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a process may take to be gone after SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// How long the reaper waits where there is no child at all.
const NO_CHILD_PAUSE: Duration = Duration::from_millis(20);

/// The daemons and the thread that reaps.
pub(super) struct Children {
    specs: BTreeMap<Daemon, DaemonSpec>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Also held while a process is started: a child that cannot execute its program is reaped by
    /// the standard library, and the reaper must not be first.
    table: Mutex<Table>,
    reaped: Condvar,
}

#[derive(Default)]
struct Table {
    running: BTreeMap<Daemon, Pid>,
    states: BTreeMap<Daemon, DaemonState>,
    /// Daemons that are being ended by order.
    ending: BTreeSet<Daemon>,
}

impl Children {
    pub(super) fn new(specs: BTreeMap<Daemon, DaemonSpec>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let reaper = Arc::clone(&shared);
        // Never joined: it ends with the process, which is process 1 of its namespace.
        thread::Builder::new().name("reaper".into()).spawn(move || reaper.reap_for_ever())?;
        Ok(Self { specs, shared })
    }

    pub(super) fn states(&self) -> BTreeMap<Daemon, DaemonState> {
        let table = self.shared.lock();
        let state = |daemon| table.states.get(daemon).cloned().unwrap_or(DaemonState::New);
        self.specs.keys().map(|daemon| (*daemon, state(daemon))).collect()
    }

    pub(super) fn act(&self, daemon: Daemon, act: Act) -> io::Result<()> {
        match act {
            Act::Start => self.start(daemon),
            Act::Stop => match self.end(daemon, Signal::TERM, STOP_GRACE) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.end(daemon, Signal::KILL, KILL_GRACE)
                }
                ended => ended,
            },
            Act::Kill => self.end(daemon, Signal::KILL, KILL_GRACE),
            Act::Freeze => {
                let mut table = self.shared.lock();
                let Some(&pid) = table.running.get(&daemon) else {
                    return Err(io::Error::other(format!("{daemon} does not run")));
                };
                kill_process(pid, Signal::STOP)?;
                table.states.insert(daemon, DaemonState::Frozen);
                Ok(())
            }
        }
    }

    fn start(&self, daemon: Daemon) -> io::Result<()> {
        let mut table = self.shared.lock();
        if let Some(&pid) = table.running.get(&daemon) {
            kill_process(pid, Signal::CONT)?;
            table.states.insert(daemon, DaemonState::Running);
            return Ok(());
        }
        let spec = self.specs.get(&daemon).ok_or_else(|| io::Error::other("no such daemon"))?;
        let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
        let (program, arguments) =
            spec.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        // The handle is dropped: the reaper waits for every process, ours and orphans alike.
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            table.running.insert(daemon, pid);
        }
        table.states.insert(daemon, DaemonState::Running);
        Ok(())
    }

    fn end(&self, daemon: Daemon, signal: Signal, grace: Duration) -> io::Result<()> {
        let deadline = Instant::now() + grace;
        let mut table = self.shared.lock();
        let Some(&pid) = table.running.get(&daemon) else { return Ok(()) };
        table.ending.insert(daemon);
        kill_process(pid, signal)?;
        // A frozen process sees SIGTERM only when it goes on.
        kill_process(pid, Signal::CONT)?;
        while table.running.get(&daemon) == Some(&pid) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let waited = self.shared.reaped.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is consistent between any two statements: a panic elsewhere cannot spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap_for_ever(&self) {
        loop {
            // Looks, but does not take: the process is reaped under the lock.
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => {
                    thread::sleep(NO_CHILD_PAUSE);
                    continue;
                }
            }
            let mut table = self.lock();
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                table.ended(pid, status);
            }
            self.reaped.notify_all();
        }
    }
}

impl Table {
    fn ended(&mut self, pid: Pid, status: WaitStatus) {
        let Some(daemon) = self.running.iter().find_map(|(&d, &p)| (p == pid).then_some(d)) else {
            return;
        };
        self.running.remove(&daemon);
        let by_order = self.ending.remove(&daemon);
        let state = if by_order {
            DaemonState::Stopped
        } else if let Some(signal) = status.terminating_signal() {
            DaemonState::Exited(format!("signal {signal}"))
        } else {
            DaemonState::Exited(format!("status {}", status.exit_status().unwrap_or_default()))
        };
        self.states.insert(daemon, state);
    }
}
