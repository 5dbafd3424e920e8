//! What can be asked of the supervisor: JSON lines over a Unix socket, one answer to each request, in
//! order.
//!
//! What a connection broke is mended when the connection closes, unless the request said `keep`: a
//! test that is killed in the middle of a fault leaves a whole cluster to the next one.

mod connection;
mod status;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use connection::{Connection, ControlError};
pub use status::{BalancedService, ClientStatus, ClusterStatus, NodeStatus};

use crate::address::NodeId;
use crate::node_init::{Act, Daemon};

/// How a cluster is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u8,
    /// How kube-proxy implements Services.
    pub proxy_mode: ProxyMode,
    /// The port on 127.0.0.1 that leads to the API server.
    pub api_port: u16,
}

/// How kube-proxy implements Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// nftables, kube-proxy's future default.
    Nftables,
    /// iptables, its default today.
    Iptables,
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub ask: Ask,
    /// Do not undo it when the connection closes.
    pub keep: bool,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How is the cluster?
    Status,
    /// End the cluster and leave nothing; answered when that is done.
    Down,
    /// Bring an image archive to every node.
    LoadImage {
        /// Absolute path of the archive.
        archive: PathBuf,
    },
    /// Cut (`false`) or restore (`true`) the cable between a node and the bridge.
    Link {
        /// The node.
        node: NodeId,
        /// Is it plugged in?
        up: bool,
    },
    /// Start, stop, kill or freeze a daemon of a node.
    Daemon {
        /// The node.
        node: NodeId,
        /// The daemon.
        daemon: Daemon,
        /// What to do.
        act: Act,
    },
    /// Forget every UDP flow that a node's connection tracking knows.
    FlushConntrack {
        /// The node.
        node: NodeId,
    },
    /// Start, stop, kill or freeze a daemon of the control plane.
    ControlPlane {
        /// The daemon.
        component: Component,
        /// What to do.
        act: Act,
    },
    /// Make an outside client: a machine behind a router with NAT.
    AddClient {
        /// Its name.
        client: String,
    },
    /// Remove an outside client.
    RemoveClient {
        /// Its name.
        client: String,
    },
    /// Make the client's router forget its mappings: every flow gets a new source port.
    RebindClient {
        /// Its name.
        client: String,
    },
    /// Give the client's router another public address: every flow gets a new source address.
    MoveClient {
        /// Its name.
        client: String,
    },
    /// Lose packets between the client and its router, in each direction.
    LoseClient {
        /// Its name.
        client: String,
        /// Packets lost in a thousand.
        per_mille: u16,
    },
}

/// The daemons of the control plane.
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
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
}

impl Component {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 4] =
        [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::KubeScheduler];
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
        })
    }
}

impl Ask {
    /// What mends this, if it is a fault.
    #[must_use]
    pub fn undo(&self) -> Option<Self> {
        match self {
            Self::Link { node, up: false } => Some(Self::Link { node: *node, up: true }),
            Self::Daemon { node, daemon, act: Act::Stop | Act::Kill | Act::Freeze } => {
                Some(Self::Daemon { node: *node, daemon: *daemon, act: Act::Start })
            }
            Self::ControlPlane { component, act: Act::Stop | Act::Kill | Act::Freeze } => {
                Some(Self::ControlPlane { component: *component, act: Act::Start })
            }
            Self::AddClient { client } => Some(Self::RemoveClient { client: client.clone() }),
            Self::LoseClient { client, per_mille: 1.. } => {
                Some(Self::LoseClient { client: client.clone(), per_mille: 0 })
            }
            _ => None,
        }
    }
}

/// What must be undone when a connection closes, last things first.
#[derive(Debug, Default)]
pub struct Undo(Vec<Ask>);

impl Undo {
    /// Takes note of something that was done.
    pub fn done(&mut self, ask: &Ask) {
        // Mended already, or about to be noted again.
        self.0.retain(|mend| mend != ask && Some(mend) != ask.undo().as_ref());
        if let Ask::RemoveClient { client: removed } = ask {
            // Nothing of a client that is gone can be mended.
            self.0.retain(
                |mend| !matches!(mend, Ask::LoseClient { client, .. } if client == removed),
            );
        }
        self.0.extend(ask.undo());
    }

    /// What is left to do, in order.
    pub fn into_asks(self) -> impl Iterator<Item = Ask> {
        self.0.into_iter().rev()
    }
}

/// The answer to a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done.
    Done,
    /// The answer to [`Ask::Status`].
    Status(Box<ClusterStatus>),
    /// The answer to [`Ask::AddClient`] and [`Ask::MoveClient`].
    Client {
        /// The address that the outside world sees.
        public: Ipv4Addr,
    },
    /// It was not done: why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(asks: &[Ask]) -> Vec<Ask> {
        let mut undo = Undo::default();
        asks.iter().for_each(|ask| undo.done(ask));
        undo.into_asks().collect()
    }

    fn client(name: &str) -> String {
        name.to_owned()
    }

    fn kubelet(act: Act) -> Ask {
        Ask::Daemon { node: "n1".parse().unwrap(), daemon: Daemon::Kubelet, act }
    }

    #[test]
    fn faults_are_mended_in_the_opposite_order() {
        let link = |up| Ask::Link { node: "n2".parse().unwrap(), up };
        let add = Ask::AddClient { client: client("a") };
        let remove = Ask::RemoveClient { client: client("a") };
        assert_eq!(
            undone(&[add, kubelet(Act::Stop), link(false)]),
            [link(true), kubelet(Act::Start), remove]
        );
    }

    #[test]
    fn what_the_test_mended_is_not_mended_again() {
        assert_eq!(undone(&[kubelet(Act::Kill), kubelet(Act::Start)]), []);
        assert_eq!(undone(&[kubelet(Act::Freeze), kubelet(Act::Kill)]), [kubelet(Act::Start)]);
    }

    #[test]
    fn nothing_is_done_to_a_client_that_is_gone() {
        let lose = Ask::LoseClient { client: client("a"), per_mille: 10 };
        let add = Ask::AddClient { client: client("a") };
        let remove = Ask::RemoveClient { client: client("a") };
        assert_eq!(undone(&[add.clone(), lose.clone(), remove.clone()]), []);
        let heal = Ask::LoseClient { client: client("a"), per_mille: 0 };
        assert_eq!(undone(&[add, lose]), [heal, remove]);
    }
}
