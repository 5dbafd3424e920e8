//! Breaking things in our cluster. Whatever a test breaks is mended when it ends, also when it is
//! killed: the supervisor does it when the connection closes.

use std::time::Duration;

use baton_cluster::address::NodeId;
use baton_cluster::control::{Ask, Connection, Reply};
use baton_cluster::node_init::{Act, Daemon};
use tokio::time::{Instant, sleep};

/// How long the cluster may take to be whole again after a test.
const MEND_DEADLINE: Duration = Duration::from_secs(60);

/// The means to break things.
#[derive(Debug)]
pub struct Faults {
    /// `None` only while mending.
    connection: Option<Connection>,
}

impl Faults {
    pub(super) async fn open() -> Self {
        let connection = Connection::open().await.expect("the cluster is up");
        Self { connection: Some(connection) }
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

    /// Asks for anything else.
    ///
    /// # Panics
    /// When the supervisor does not do it.
    pub async fn ask(&mut self, ask: Ask) -> Reply {
        let connection = self.connection.as_mut().expect("faults are not being mended");
        let reply = connection.ask(ask.clone()).await;
        reply.unwrap_or_else(|error| panic!("{ask:?}: {error}"))
    }

    /// Mends everything and waits until every node is Ready again.
    pub(super) async fn mend(&mut self) {
        // The supervisor mends when the connection closes.
        drop(self.connection.take());
        let started = Instant::now();
        loop {
            let mut connection = Connection::open().await.expect("the cluster is up");
            let status = connection.status().await.expect("a status");
            if status.nodes.values().all(|node| node.link_up && node.ready == "True") {
                return;
            }
            assert!(started.elapsed() < MEND_DEADLINE, "the cluster does not recover:\n{status}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn id(node: &str) -> NodeId {
    node.parse().unwrap_or_else(|error| panic!("{error}"))
}
