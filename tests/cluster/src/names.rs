//! What this tool names and where it keeps things: all under one prefix, so that whatever a killed
//! predecessor left can be found and removed without knowing what it was doing.

use std::path::PathBuf;

use crate::address::NodeId;

/// Every network namespace, cgroup and folder of the cluster bears this name or begins with it.
pub const PREFIX: &str = "baton-cluster";

/// The state of the running cluster: certificates, logs, etcd, the nodes' own files, the control
/// socket. Locked by the supervisor for as long as it lives, removed by `down`.
#[must_use]
pub fn state_dir() -> PathBuf {
    PathBuf::from("/var/lib").join(PREFIX)
}

/// The supervisor's Unix socket.
#[must_use]
pub fn control_socket() -> PathBuf {
    state_dir().join("control.sock")
}

/// Where each daemon writes its log.
#[must_use]
pub fn log_dir() -> PathBuf {
    state_dir().join("log")
}

/// Certificates, keys and kubeconfig files.
#[must_use]
pub fn pki_dir() -> PathBuf {
    state_dir().join("pki")
}

/// The administrator's kubeconfig, for use from the machine itself (through the spliced port).
#[must_use]
pub fn kubeconfig() -> PathBuf {
    pki_dir().join("admin.kubeconfig")
}

/// Where kubectl keeps what it learned of the API, when it is used as `env` says.
#[must_use]
pub fn kubectl_cache() -> PathBuf {
    state_dir().join("kubectl-cache")
}

/// A network namespace of the cluster, as `ip netns` names it.
#[must_use]
pub fn namespace(role: &str) -> String {
    format!("{PREFIX}-{role}")
}

/// The network between the machines: bridge, router to the outside clients, load balancer.
#[must_use]
pub fn network_namespace() -> String {
    namespace("network")
}

/// The control plane's machine.
#[must_use]
pub fn control_plane_namespace() -> String {
    namespace("control-plane")
}

/// A node's machine.
#[must_use]
pub fn node_namespace(node: NodeId) -> String {
    namespace(&node.to_string())
}

/// An outside client's machine.
#[must_use]
pub fn client_namespace(client: &str) -> String {
    namespace(&format!("client-{client}"))
}

/// The router with NAT in front of an outside client.
#[must_use]
pub fn router_namespace(client: &str) -> String {
    namespace(&format!("router-{client}"))
}

/// Where `ip netns` keeps the handle of a namespace.
#[must_use]
pub fn namespace_path(namespace: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(namespace)
}
