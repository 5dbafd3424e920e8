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

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was tried and failed; some of it may have been done.
    Failed,
    /// Nothing was tried.
    Refused,
}

/// What must be undone when a connection closes, last things first.
#[derive(Debug, Default)]
pub struct Undo(Vec<Ask>);

impl Undo {
    /// Takes note of a request and what came of it.
    pub fn note(&mut self, ask: &Ask, outcome: Outcome) {
        match (outcome, ask) {
            (Outcome::Done, _) => self.done(ask),
            // A client is made whole or not at all: one that failed is not there, or somebody else's.
            (Outcome::Refused, _) | (Outcome::Failed, Ask::AddClient { .. }) => {}
            // Half a fault is mended too; half a mend still has to be made.
            (Outcome::Failed, _) => self.add(ask.undo()),
        }
    }

    fn done(&mut self, ask: &Ask) {
        // Mended already.
        self.0.retain(|mend| mend != ask);
        if let Ask::RemoveClient { client: removed } = ask {
            // Nothing of a client that is gone can be mended.
            self.0.retain(
                |mend| !matches!(mend, Ask::LoseClient { client, .. } if client == removed),
            );
        }
        self.add(ask.undo());
    }

    fn add(&mut self, mend: Option<Ask>) {
        // Once is enough, and in the place of the last time.
        self.0.retain(|other| Some(other) != mend.as_ref());
        self.0.extend(mend);
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn undone(asks: &[Ask]) -> Vec<Ask> {
        let mut undo = Undo::default();
        asks.iter().for_each(|ask| undo.note(ask, Outcome::Done));
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

    #[test]
    fn a_mend_that_failed_is_still_to_be_made() {
        let mut undo = Undo::default();
        undo.note(&kubelet(Act::Stop), Outcome::Done);
        undo.note(&kubelet(Act::Start), Outcome::Failed);
        assert_eq!(undo.into_asks().collect::<Vec<_>>(), [kubelet(Act::Start)]);
    }

    #[test]
    fn what_was_refused_is_not_mended() {
        let mut undo = Undo::default();
        undo.note(&Ask::LoseClient { client: client("others"), per_mille: 1001 }, Outcome::Refused);
        undo.note(&Ask::AddClient { client: client("others") }, Outcome::Refused);
        assert_eq!(undo.into_asks().count(), 0);
    }

    /// What is broken, as far as faults on order go.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct Model {
        broken: BTreeSet<String>,
        clients: BTreeSet<String>,
    }

    impl Model {
        /// Does what is asked; `false` where the supervisor would refuse.
        fn carry_out(&mut self, ask: &Ask) -> bool {
            let mut set = |what: String, broken: bool| {
                if broken {
                    self.broken.insert(what)
                } else {
                    self.broken.remove(&what)
                };
                true
            };
            match ask {
                Ask::Link { node, up } => set(format!("link {node}"), !up),
                Ask::Daemon { node, daemon, act } => {
                    set(format!("{daemon} {node}"), *act != Act::Start)
                }
                Ask::ControlPlane { component, act } => {
                    set(component.to_string(), *act != Act::Start)
                }
                Ask::AddClient { client } => self.clients.insert(client.clone()),
                Ask::RemoveClient { client } => {
                    self.broken.remove(client);
                    self.clients.remove(client)
                }
                Ask::LoseClient { client, per_mille } => {
                    self.clients.contains(client) && set(client.clone(), *per_mille > 0)
                }
                _ => true,
            }
        }

        fn try_out(&mut self, ask: &Ask, trouble: Trouble) -> Outcome {
            // Clients are in the supervisor's list only while all is well with making and removing
            // them.
            let whole = matches!(ask, Ask::AddClient { .. } | Ask::RemoveClient { .. });
            let effect = trouble == Trouble::None || (trouble == Trouble::Late && !whole);
            let mut unchanged = self.clone();
            let model = if effect { self } else { &mut unchanged };
            match (model.carry_out(ask), trouble) {
                (false, _) => Outcome::Refused,
                (true, Trouble::None) => Outcome::Done,
                (true, _) => Outcome::Failed,
            }
        }
    }

    /// What goes wrong while a request is carried out.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Trouble {
        None,
        /// It fails before it has an effect.
        Early,
        /// It fails after it had its effect.
        Late,
    }

    fn any_trouble() -> impl Strategy<Value = Trouble> {
        prop_oneof![3 => Just(Trouble::None), 1 => Just(Trouble::Early), 1 => Just(Trouble::Late)]
    }

    fn any_ask() -> impl Strategy<Value = Ask> {
        let node = (1_u8..=2).prop_map(|n| format!("n{n}").parse::<NodeId>().unwrap());
        let client = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
        let act =
            prop_oneof![Just(Act::Start), Just(Act::Stop), Just(Act::Kill), Just(Act::Freeze)];
        prop_oneof![
            (node.clone(), any::<bool>()).prop_map(|(node, up)| Ask::Link { node, up }),
            (node, act.clone())
                .prop_map(|(node, act)| { Ask::Daemon { node, daemon: Daemon::KubeProxy, act } }),
            act.prop_map(|act| Ask::ControlPlane { component: Component::Etcd, act }),
            client.clone().prop_map(|client| Ask::AddClient { client }),
            client.clone().prop_map(|client| Ask::RemoveClient { client }),
            (client.clone(), 0_u16..2)
                .prop_map(|(client, per_mille)| Ask::LoseClient { client, per_mille }),
            client.prop_map(|client| Ask::RebindClient { client }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_connection_did_is_mended_when_it_closes(
            asks in proptest::collection::vec((any_ask(), any_trouble()), 0..40),
        ) {
            let mut model = Model::default();
            let mut undo = Undo::default();
            for (ask, trouble) in &asks {
                undo.note(ask, model.try_out(ask, *trouble));
            }
            for mend in undo.into_asks() {
                prop_assert!(model.carry_out(&mend), "refused: {mend:?}");
            }
            prop_assert_eq!(model, Model::default());
        }
    }
}
