//! What a cluster leaves when it is killed, found by names alone.
//!
//! Both `up` (before it starts) and `down` (when no supervisor answers) remove it, and a test asserts
//! that after `down` there is none.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::{CgroupError, Cgroups};
use crate::lock::StateLock;
use crate::names;
use crate::run::{CommandError, run};

/// How long killed processes may take to be gone, and how often that is looked at.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);
const DEATH_POLL: Duration = Duration::from_millis(20);

/// Everything on this machine that bears our name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes in one of our namespaces or control groups.
    pub processes: BTreeSet<i32>,
    /// Network namespaces.
    pub namespaces: BTreeSet<String>,
    /// Control groups, children first.
    pub cgroups: Vec<PathBuf>,
    /// Is the state folder there?
    pub state: bool,
}

/// Why something could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// Files or processes could not be looked at or removed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A network namespace could not be removed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A control group could not be removed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Killed processes did not go away.
    #[error("processes {0:?} are still there {seconds} s after SIGKILL", seconds = DEATH_DEADLINE.as_secs())]
    Undead(BTreeSet<i32>),
}

impl Leftovers {
    /// Looks for everything that bears our name.
    #[must_use]
    pub fn find(cgroups: &Cgroups) -> Self {
        let namespaces = namespaces();
        let mut processes = processes_in(&namespaces);
        processes.extend(cgroups.processes(names::PREFIX));
        let cgroups = cgroups.below(names::PREFIX);
        Self { processes, namespaces, cgroups, state: names::state_dir().exists() }
    }

    /// Is nothing left?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Removes what was found, but for the state folder, whose lock the caller holds: kills the
    /// processes, then removes the namespaces, then the control groups.
    ///
    /// # Errors
    /// When something stays.
    pub async fn remove(&self, cgroups: &Cgroups) -> Result<(), LeftoversError> {
        kill(&self.processes).await?;
        for namespace in &self.namespaces {
            run("ip", ["netns", "delete", namespace]).await?;
        }
        cgroups.remove(names::PREFIX).await?;
        Ok(())
    }
}

/// Takes the lock and removes everything, the state folder too. `false`: a supervisor holds the lock,
/// so that nothing is left over, but in use.
///
/// # Errors
/// When something stays.
pub async fn remove_all(cgroups: &Cgroups) -> Result<bool, LeftoversError> {
    let state = |source| {
        let what = format!("the state folder {}", names::state_dir().display());
        LeftoversError::Io { what, source }
    };
    let Some(lock) = StateLock::take(&names::state_dir()).map_err(state)? else {
        return Ok(false);
    };
    Leftovers::find(cgroups).remove(cgroups).await?;
    lock.remove().map_err(state)?;
    Ok(true)
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} network namespaces, {} control groups, {} state folder",
            self.processes.len(),
            self.namespaces.len(),
            self.cgroups.len(),
            if self.state { "a" } else { "no" },
        )
    }
}

/// Kills the processes and waits until they are gone.
///
/// # Errors
/// When one cannot be killed, or is still there after some seconds.
pub async fn kill(processes: &BTreeSet<i32>) -> Result<(), LeftoversError> {
    for &process in processes {
        let Some(pid) = Pid::from_raw(process) else { continue };
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                let what = format!("cannot kill process {process}");
                return Err(LeftoversError::Io { what, source: error.into() });
            }
        }
    }
    let mut waited = Duration::ZERO;
    loop {
        let left: BTreeSet<i32> = processes.iter().copied().filter(|&id| is_running(id)).collect();
        if left.is_empty() {
            return Ok(());
        }
        if waited >= DEATH_DEADLINE {
            return Err(LeftoversError::Undead(left));
        }
        tokio::time::sleep(DEATH_POLL).await;
        waited += DEATH_POLL;
    }
}

/// Is there a process of this number? A zombie is none: it has ended, and waits for a parent that may
/// never look.
#[must_use]
pub fn is_running(process: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
    // proc_pid_stat(5): the state follows the command in parentheses, which may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn namespaces() -> BTreeSet<String> {
    let prefix = names::namespace("");
    fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// The processes whose network namespace is one of `namespaces`. This process itself never is: it
/// only ever enters them by a thread.
fn processes_in(namespaces: &BTreeSet<String>) -> BTreeSet<i32> {
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|name| fs::metadata(names::namespace_path(name)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &i32| {
            fs::metadata(format!("/proc/{id}/ns/net"))
                .is_ok_and(|metadata| inodes.contains(&metadata.ino()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_reaps_does_not_run() {
        assert!(is_running(i32::try_from(std::process::id()).unwrap()));
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        assert!(is_running(id));
        child.kill().unwrap();
        let started = std::time::Instant::now();
        while is_running(id) {
            assert!(started.elapsed() < DEATH_DEADLINE, "it still counts as running");
            std::thread::sleep(DEATH_POLL);
        }
        assert!(std::path::Path::new(&format!("/proc/{id}")).exists(), "it is still a zombie");
        child.wait().unwrap();
        assert!(!is_running(id));
    }
}
