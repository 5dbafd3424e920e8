//! Breaking things in our cluster. Whatever a test breaks is mended when it ends, also when it is
//! killed: the supervisor does it when the connection closes.

use std::time::Duration;

use baton_cluster::address::NodeId;
use baton_cluster::control::{Ask, ClusterStatus, Connection, Reply};
use baton_cluster::node_init::{Act, Daemon, DaemonState};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use super::process::ContainerProcess;

/// How long the cluster may take to be whole again after a test.
const MEND_DEADLINE: Duration = Duration::from_secs(60);

/// The means to break things.
#[derive(Debug)]
pub struct Faults {
    connection: Connection,
}

impl Faults {
    pub(super) async fn open() -> Self {
        Self { connection: Connection::open().await.expect("the cluster is up") }
    }

    /// Does something to a daemon of a node.
    ///
    /// # Panics
    /// When the supervisor does not do it.
    pub async fn daemon(&mut self, node: &str, daemon: Daemon, act: Act) {
        self.ask(Ask::Daemon { node: id(node), daemon, act }).await;
    }

    /// Cuts or restores a node's cable.
    ///
    /// # Panics
    /// When the supervisor does not do it.
    pub async fn link(&mut self, node: &str, up: bool) {
        self.ask(Ask::Link { node: id(node), up }).await;
    }

    /// Makes a node forget every UDP flow.
    ///
    /// # Panics
    /// When the supervisor does not do it.
    pub async fn flush_conntrack(&mut self, node: &str) {
        self.ask(Ask::FlushConntrack { node: id(node) }).await;
    }

    /// The process of a running container, to be frozen or killed.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process(&self, pod: &Pod, container: &str) -> ContainerProcess {
        ContainerProcess::find(pod, container)
    }

    /// Asks for anything else.
    ///
    /// # Panics
    /// When the supervisor does not do it.
    pub async fn ask(&mut self, ask: Ask) -> Reply {
        let reply = self.connection.ask(ask.clone()).await;
        reply.unwrap_or_else(|error| panic!("{ask:?}: {error}"))
    }

    /// Mends everything and waits until the cluster is whole again.
    pub(super) async fn mend(self) {
        // The supervisor mends when the connection closes.
        drop(self.connection);
        let started = Instant::now();
        loop {
            let mut connection = Connection::open().await.expect("the cluster is up");
            let status = connection.status().await.expect("a status");
            if is_whole(&status) {
                return;
            }
            assert!(started.elapsed() < MEND_DEADLINE, "the cluster does not recover:\n{status}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Does every daemon run, and is every node there? Ready alone says little: a node stays so for
/// seconds without a kubelet, and for ever without a kube-proxy.
fn is_whole(status: &ClusterStatus) -> bool {
    let daemons = status.nodes.values().flat_map(|node| node.daemons.values());
    let mut all = daemons.chain(status.control_plane.values());
    all.all(|state| *state == DaemonState::Running)
        && status.nodes.values().all(|node| node.link_up && node.ready == "True")
}

fn id(node: &str) -> NodeId {
    node.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use baton_cluster::control::{Component, NodeStatus, ProxyMode, Shape};

    use super::*;

    fn whole() -> ClusterStatus {
        let node = NodeStatus {
            address: Ipv4Addr::LOCALHOST,
            process_1: 1,
            daemons: BTreeMap::from([(Daemon::KubeProxy, DaemonState::Running)]),
            link_up: true,
            ready: "True".to_owned(),
        };
        ClusterStatus {
            shape: Shape { nodes: 1, proxy_mode: ProxyMode::Nftables, api_port: 1 },
            kubernetes: String::new(),
            cgroups: String::new(),
            supervisor: 1,
            programs: "/".into(),
            kubeconfig: "/".into(),
            logs: "/".into(),
            control_plane: BTreeMap::from([(Component::KubeScheduler, DaemonState::Running)]),
            nodes: BTreeMap::from([(id("n1"), node)]),
            clients: BTreeMap::new(),
            balanced: Vec::new(),
            memory_bytes: 0,
        }
    }

    #[test]
    fn a_cluster_is_whole_when_nothing_of_it_is_broken() {
        assert!(is_whole(&whole()));
        let break_node = |spoil: fn(&mut NodeStatus)| {
            let mut status = whole();
            status.nodes.values_mut().for_each(spoil);
            is_whole(&status)
        };
        assert!(!break_node(|node| node.link_up = false));
        assert!(!break_node(|node| node.ready = "Unknown".to_owned()));
        assert!(!break_node(|node| {
            node.daemons.insert(Daemon::KubeProxy, DaemonState::Stopped);
        }));
        let mut status = whole();
        status.control_plane.insert(Component::KubeScheduler, DaemonState::Frozen);
        assert!(!is_whole(&status));
    }
}
