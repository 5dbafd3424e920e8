//! The process of a container, on a node of our cluster.
//!
//! The nodes are namespaces of this machine, so their processes are among its own: a kill here is the kernel's, and neither
//! the kubelet nor the API server has a word in it.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use kube::api::Api;
use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_for;
use crate::until::until;

/// How long the kernel may take to end a process.
const END: Duration = Duration::from_secs(5);

/// How long the kubelet may take to start another: it backs off when it has done so before.
const RESTART: Duration = Duration::from_secs(90);

/// 128 and SIGKILL.
const KILLED: i32 = 137;

/// The one process of a running container.
#[derive(Debug)]
pub struct ContainerProcess {
    container: String,
    /// As in `status.containerStatuses`.
    container_id: String,
    pod: String,
    restarts: i32,
    id: Pid,
    is_frozen: bool,
}

impl ContainerProcess {
    pub(super) fn find(pod: &Pod, container: &str) -> Self {
        let name = pod.name_any();
        let status = container_status(pod, container);
        let status = status.unwrap_or_else(|| panic!("{name} has no container {container}"));
        let id = status.container_id.clone();
        let container_id = id.unwrap_or_else(|| panic!("{container} of {name} never ran"));
        let found: Vec<Pid> = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .filter(|id| is_in(*id, &container_id))
            .collect();
        let [id] = found[..] else {
            panic!("{container} of {name} has one process on this machine: {found:?}")
        };
        let restarts = status.restart_count;
        let container = container.to_owned();
        Self { container, container_id, pod: name, restarts, id, is_frozen: false }
    }

    /// Holds it where it is. A liveness probe does not like that for long.
    ///
    /// # Panics
    /// When it is gone.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
        self.is_frozen = true;
    }

    /// Ends it with SIGKILL; it is gone when this returns.
    ///
    /// # Panics
    /// When it was gone already, or the kernel does not end it.
    pub async fn kill(mut self) -> Killed {
        self.signal(Signal::KILL);
        self.is_frozen = false;
        until("SIGKILL ends a process", END, || !is_in(self.id, &self.container_id)).await;
        Killed {
            container: self.container.clone(),
            container_id: self.container_id.clone(),
            pod: self.pod.clone(),
            restarts: self.restarts,
        }
    }

    fn signal(&self, signal: Signal) {
        assert!(is_in(self.id, &self.container_id), "{} of {} is gone", self.container, self.pod);
        kill_process(self.id, signal).expect("the tests run as root");
    }
}

impl Drop for ContainerProcess {
    fn drop(&mut self) {
        if self.is_frozen && is_in(self.id, &self.container_id) {
            // If it ended meanwhile, there is nothing to thaw.
            let _ = kill_process(self.id, Signal::CONT);
        }
    }
}

/// A container whose process was killed.
#[derive(Debug)]
pub struct Killed {
    container: String,
    container_id: String,
    pod: String,
    restarts: i32,
}

impl Killed {
    /// Waits until the kubelet says that this very container ended by SIGKILL, and that another runs in its place: the
    /// proof that there was a kill.
    ///
    /// # Panics
    /// When it does not say so in time.
    pub async fn replaced(&self, pods: &Api<Pod>) -> Pod {
        wait_for(pods, &self.pod, "runs again after the kill", RESTART, |pod| {
            let Some(status) = container_status(pod, &self.container) else { return false };
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let was_killed = last.is_some_and(|last| {
                last.exit_code == KILLED && last.container_id.as_ref() == Some(&self.container_id)
            });
            was_killed
                && status.restart_count == self.restarts + 1
                && status.state.as_ref().is_some_and(|state| state.running.is_some())
        })
        .await
    }
}

fn container_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let mut statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    statuses.find(|status| status.name == container)
}

/// Is it a process of this container? Its control group bears the container's id.
fn is_in(id: Pid, container_id: &str) -> bool {
    let name = container_id.rsplit('/').next().expect("rsplit gives at least one");
    let path = format!("/proc/{}/cgroup", id.as_raw_nonzero());
    // A process that is gone is in no group.
    fs::read_to_string(path).is_ok_and(|groups| groups.contains(name))
}
