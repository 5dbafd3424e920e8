//! The running cluster and what can be done to it.

use std::collections::BTreeMap;
use std::io;

use futures::future::{join_all, try_join_all};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::balancer::{self, Balance};
use super::control_plane::ControlPlane;
use super::memory::Memory;
use super::node::Node;
use super::outside::OutsideClient;
use super::{Reporter, Setup, StartError, api, network, node_config, splice, wait_until};
use crate::address::{NodeId, Uplink};
use crate::control::{Ask, ClientStatus, ClusterStatus, Component, NodeStatus, Reply};
use crate::names;
use crate::netns::NetNs;
use crate::node_init::{Act, Daemon, DaemonState, Order};
use crate::run::CommandError;

/// The running cluster. Dropping it kills every daemon.
pub(super) struct Cluster {
    setup: Setup,
    api: kube::Client,
    control_plane: Mutex<ControlPlane>,
    nodes: BTreeMap<NodeId, Node>,
    links_cut: Mutex<Vec<NodeId>>,
    clients: Mutex<Clients>,
    balance: Balance,
    memory: Memory,
    /// The port and the load balancer: they end with the cluster, and not before.
    tasks: Mutex<JoinSet<()>>,
}

/// The outside clients.
#[derive(Debug, Default)]
struct Clients {
    by_name: BTreeMap<String, OutsideClient>,
    /// The uplink that was given out last.
    last_uplink: Option<Uplink>,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error("there is no client {0}")]
    NoClient(String),
    #[error("there is a client {0} already")]
    ClientExists(String),
    #[error("`{0}` is no name for a client: write 1 to 20 lower-case letters, digits and `-`")]
    ClientName(String),
    #[error("there are {0} clients already, and no more addresses")]
    ClientsMax(usize),
    #[error("{0} does not run, so it cannot be frozen")]
    NotRunning(String),
    #[error("{0} in a thousand is no rate of loss: write 0 to 1000")]
    Loss(u16),
}

impl AskError {
    /// Was nothing tried?
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Command(_) | Self::Io(_) => false,
            Self::NoNode(_)
            | Self::NoClient(_)
            | Self::ClientExists(_)
            | Self::ClientName(_)
            | Self::ClientsMax(_)
            | Self::NotRunning(_)
            | Self::Loss(_) => true,
        }
    }
}

impl Cluster {
    /// Brings the cluster up: network, then control plane and container runtimes side by side, then
    /// the nodes.
    pub(super) async fn start(
        setup: Setup,
        listener: TcpListener,
        reporter: &mut Reporter,
    ) -> Result<Self, StartError> {
        network::create(setup.shape.nodes).await?;
        reporter.step("network between the machines");
        let inside = NetNs::open(&names::control_plane_namespace())
            .map_err(StartError::at("the control plane's network"))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(splice::serve(listener, inside));

        let mut control_plane = ControlPlane::new(&setup.programs, &setup.pki, &setup.state);
        for component in [Component::Etcd, Component::KubeApiserver] {
            control_plane
                .act(component, Act::Start)
                .await
                .map_err(StartError::at(&component.to_string()))?;
        }
        let nodes = NodeId::first(setup.shape.nodes);
        let nodes: BTreeMap<_, _> =
            try_join_all(nodes.map(|id| start_runtime(&setup, id))).await?.into_iter().collect();
        reporter.step("container runtimes");

        let api = api::client().await?;
        wait_until("the API server's readiness", async || {
            control_plane.check()?;
            Ok(api::is_ready(&api).await)
        })
        .await?;
        reporter.step("API server");
        for component in [Component::KubeControllerManager, Component::KubeScheduler] {
            control_plane
                .act(component, Act::Start)
                .await
                .map_err(StartError::at(&component.to_string()))?;
        }
        try_join_all(nodes.iter().map(start_agents)).await?;
        wait_until("the default ServiceAccount", async || {
            control_plane.check()?;
            Ok(api::has_service_account(&api).await)
        })
        .await?;
        reporter.step("controllers and scheduler");
        wait_until("the nodes' readiness", async || {
            control_plane.check()?;
            try_join_all(nodes.values().map(Node::check)).await?;
            let ready = api::readiness(&api).await;
            let is_ready =
                |node: &NodeId| ready.get(&node.to_string()).is_some_and(|r| r == "True");
            Ok(nodes.keys().all(is_ready))
        })
        .await?;
        reporter.step(&format!("{} nodes Ready", nodes.len()));

        let balance = Balance::default();
        let gateway = NetNs::open(&names::network_namespace())
            .map_err(StartError::at("the gateway's network"))?;
        let ids = nodes.keys().copied().collect();
        tasks.spawn(balancer::run(api.clone(), ids, gateway, balance.clone()));
        Ok(Self {
            setup,
            api,
            control_plane: Mutex::new(control_plane),
            nodes,
            links_cut: Mutex::default(),
            clients: Mutex::default(),
            balance,
            memory: Memory::default(),
            tasks: Mutex::new(tasks),
        })
    }

    /// Waits until the port or the load balancer ends, which neither should: why it did.
    pub(super) async fn breaks(&self) -> String {
        match self.tasks.lock().await.join_next().await {
            Some(Err(panic)) => panic.to_string(),
            _ => "the port or the load balancer returned".to_owned(),
        }
    }

    /// Carries out a request; [`Ask::Down`] is the server's.
    pub(super) async fn carry_out(&self, ask: &Ask) -> Result<Reply, AskError> {
        match ask {
            Ask::Status => return Ok(Reply::Status(Box::new(self.status().await))),
            Ask::Down => {}
            Ask::LoadImage { archive } => {
                try_join_all(self.nodes.values().map(|node| node.load_image(archive))).await?;
            }
            Ask::Link { node, up } => {
                self.node(*node)?;
                let mut cut = self.links_cut.lock().await;
                network::set_link(*node, *up).await?;
                cut.retain(|other| other != node);
                if !up {
                    cut.push(*node);
                }
            }
            Ask::Daemon { node, daemon, act } => {
                let node = self.node(*node)?;
                check_act(*act, daemon, node.report().await.get(daemon))?;
                node.order(&Order::Daemon(*daemon, *act)).await?;
            }
            Ask::FlushConntrack { node } => self.node(*node)?.flush_conntrack().await?,
            Ask::ControlPlane { component, act } => {
                let mut control_plane = self.control_plane.lock().await;
                check_act(*act, component, control_plane.states().get(component))?;
                control_plane.act(*component, *act).await?;
            }
            Ask::AddClient { client } => return self.add_client(client).await,
            Ask::RemoveClient { client } => {
                let mut clients = self.clients.lock().await;
                clients.get(client)?.remove().await?;
                clients.by_name.remove(client);
            }
            Ask::RebindClient { client } => {
                self.clients.lock().await.get(client)?.rebind().await?;
            }
            Ask::MoveClient { client } => {
                let mut clients = self.clients.lock().await;
                let client = clients.get(client)?;
                client.readdress().await?;
                return Ok(Reply::Client { public: client.public() });
            }
            Ask::LoseClient { per_mille: loss @ 1001.., .. } => return Err(AskError::Loss(*loss)),
            Ask::LoseClient { client, per_mille } => {
                self.clients.lock().await.get(client)?.lose(*per_mille).await?;
            }
        }
        Ok(Reply::Done)
    }

    async fn add_client(&self, name: &str) -> Result<Reply, AskError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(plain) {
            return Err(AskError::ClientName(name.to_owned()));
        }
        let mut clients = self.clients.lock().await;
        if clients.by_name.contains_key(name) {
            return Err(AskError::ClientExists(name.to_owned()));
        }
        let uplink = clients.next_uplink()?;
        clients.last_uplink = Some(uplink);
        let client = OutsideClient::create(name, uplink).await?;
        let public = client.public();
        clients.by_name.insert(name.to_owned(), client);
        Ok(Reply::Client { public })
    }

    fn node(&self, id: NodeId) -> Result<&Node, AskError> {
        self.nodes.get(&id).ok_or(AskError::NoNode(id))
    }

    async fn status(&self) -> ClusterStatus {
        let ready = api::readiness(&self.api).await;
        let cut = self.links_cut.lock().await.clone();
        let nodes = join_all(self.nodes.iter().map(async |(&id, node)| {
            let status = NodeStatus {
                address: id.address(),
                process_1: node.process_1(),
                daemons: node.report().await,
                link_up: !cut.contains(&id),
                ready: ready.get(&id.to_string()).cloned().unwrap_or_else(|| "?".to_owned()),
            };
            (id, status)
        }))
        .await;
        let memory_bytes = self.memory.bytes().await;
        let clients = self.clients.lock().await;
        ClusterStatus {
            shape: self.setup.shape.clone(),
            kubernetes: self.setup.programs.version.clone(),
            cgroups: self.setup.machine.cgroups.to_string(),
            supervisor: std::process::id(),
            programs: self.setup.programs.folder.clone(),
            kubeconfig: names::kubeconfig(),
            logs: names::log_dir(),
            control_plane: self.control_plane.lock().await.states(),
            nodes: nodes.into_iter().collect(),
            clients: clients.status(),
            balanced: self.balance.services(),
            memory_bytes,
        }
    }
}

/// Only what runs can be frozen. Refused here, before anything is tried: a fault that was never there
/// must not be mended, for that would start what somebody else stopped.
fn check_act(act: Act, what: &impl ToString, state: Option<&DaemonState>) -> Result<(), AskError> {
    match (act, state) {
        (Act::Freeze, Some(DaemonState::Running | DaemonState::Frozen)) => Ok(()),
        (Act::Freeze, _) => Err(AskError::NotRunning(what.to_string())),
        _ => Ok(()),
    }
}

impl Clients {
    fn get(&mut self, name: &str) -> Result<&mut OutsideClient, AskError> {
        self.by_name.get_mut(name).ok_or_else(|| AskError::NoClient(name.to_owned()))
    }

    fn next_uplink(&self) -> Result<Uplink, AskError> {
        let used = |uplink| self.by_name.values().any(|client| client.uplink() == uplink);
        Uplink::all_after(self.last_uplink)
            .find(|&uplink| !used(uplink))
            .ok_or(AskError::ClientsMax(self.by_name.len()))
    }

    fn status(&self) -> BTreeMap<String, ClientStatus> {
        self.by_name.iter().map(|(name, client)| (name.clone(), client.status())).collect()
    }
}

/// Makes a node and starts its container runtime, with the one image that every pod needs.
async fn start_runtime(setup: &Setup, id: NodeId) -> Result<(NodeId, Node), StartError> {
    let node = Node::create(setup, id).await?;
    act(&node, id, Daemon::Containerd).await?;
    wait_until(&format!("the container runtime of {id}"), async || {
        node.check().await?;
        Ok(node.runtime_answers().await)
    })
    .await?;
    node.load_image(&setup.state.join(node_config::PAUSE_ARCHIVE)).await?;
    Ok((id, node))
}

async fn start_agents((id, node): (&NodeId, &Node)) -> Result<(), StartError> {
    act(node, *id, Daemon::Kubelet).await?;
    act(node, *id, Daemon::KubeProxy).await
}

async fn act(node: &Node, id: NodeId, daemon: Daemon) -> Result<(), StartError> {
    let order = Order::Daemon(daemon, Act::Start);
    node.order(&order).await.map_err(StartError::at(&format!("{daemon} of {id}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_cannot_be_frozen_and_is_not_mended_either() {
        let check = |act, state: Option<&DaemonState>| check_act(act, &Daemon::Kubelet, state);
        assert!(check(Act::Freeze, Some(&DaemonState::Running)).is_ok());
        assert!(check(Act::Freeze, Some(&DaemonState::Frozen)).is_ok());
        assert!(check(Act::Kill, Some(&DaemonState::Stopped)).is_ok());
        let refused = check(Act::Freeze, Some(&DaemonState::Stopped)).unwrap_err();
        assert!(refused.is_refusal() && refused.to_string().contains("kubelet does not run"));
    }
}
