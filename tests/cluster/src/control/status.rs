//! How the cluster is, for people and for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Component, Shape};
use crate::address::NodeId;
use crate::node_init::{Daemon, DaemonState};

/// How the cluster is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// How it was built.
    pub shape: Shape,
    /// The Kubernetes version.
    pub kubernetes: String,
    /// The control group hierarchy that was found.
    pub cgroups: String,
    /// The supervisor's process id.
    pub supervisor: u32,
    /// The folder with kubectl and the other programs.
    pub programs: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Where the logs are.
    pub logs: PathBuf,
    /// The control plane's daemons.
    pub control_plane: BTreeMap<Component, DaemonState>,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, NodeStatus>,
    /// The outside clients.
    pub clients: BTreeMap<String, ClientStatus>,
    /// Services with an address of the load balancer.
    pub balanced: Vec<BalancedService>,
    /// Memory of all processes of the cluster, pods included, in bytes: the sum of the proportional
    /// set sizes, so that shared pages count once. Some seconds old at most.
    pub memory_bytes: u64,
}

/// How a node is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// Process 1 of the node, as the machine numbers it.
    pub process_1: u32,
    /// Its daemons.
    pub daemons: BTreeMap<Daemon, DaemonState>,
    /// Is the cable plugged in?
    pub link_up: bool,
    /// What Kubernetes says of it: the status of the `Ready` condition, or that it does not answer.
    pub ready: String,
}

/// How an outside client is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its network namespace.
    pub namespace: String,
    /// The address that the outside world sees.
    pub public: Ipv4Addr,
    /// Packets lost in a thousand, in each direction.
    pub loss_per_mille: u16,
}

/// A Service that the load balancer serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancedService {
    /// Namespace and name.
    pub service: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The nodes that it sends flows to.
    pub nodes: Vec<NodeId>,
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { nodes, proxy_mode, api_port } = &self.shape;
        writeln!(
            f,
            "Kubernetes {}, {nodes} nodes, kube-proxy in {proxy_mode} mode, {}",
            self.kubernetes, self.cgroups
        )?;
        writeln!(f, "API server   https://127.0.0.1:{api_port}")?;
        writeln!(f, "kubeconfig   {}", self.kubeconfig.display())?;
        writeln!(f, "logs         {}", self.logs.display())?;
        writeln!(f, "supervisor   process {}", self.supervisor)?;
        writeln!(f, "memory       {} MiB", self.memory_bytes >> 20)?;
        for (component, state) in &self.control_plane {
            writeln!(f, "control plane  {component}: {state}")?;
        }
        for (node, status) in &self.nodes {
            let link = if status.link_up { "" } else { ", LINK CUT" };
            writeln!(f, "{node}  {}  Ready={}{link}", status.address, status.ready)?;
            for (daemon, state) in &status.daemons {
                writeln!(f, "    {daemon}: {state}")?;
            }
        }
        for (client, status) in &self.clients {
            let loss = f64::from(status.loss_per_mille) / 10.0;
            writeln!(f, "client {client}  {}  loss {loss} %", status.public)?;
        }
        for BalancedService { service, address, nodes } in &self.balanced {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            writeln!(f, "load balancer  {address}  {service}  to {}", nodes.join(", "))?;
        }
        Ok(())
    }
}
