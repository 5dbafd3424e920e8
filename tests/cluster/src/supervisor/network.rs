//! The network between the machines: a bridge, its gateway, and a cable to each machine.

use std::net::Ipv4Addr;

use crate::address::{CONTROL_PLANE, GATEWAY, NodeId};
use crate::names;
use crate::run::{CommandError, run, run_in};

/// Makes the bridge with its gateway, the control plane's machine and the nodes' machines.
pub(super) async fn create(nodes: u8) -> Result<(), CommandError> {
    let network = names::network_namespace();
    create_namespace(&network).await?;
    ip(&network, "link add bridge type bridge").await?;
    ip(&network, &format!("address add {GATEWAY}/24 dev bridge")).await?;
    ip(&network, "link set bridge up").await?;
    forward(&network).await?;
    // Frames that only cross the bridge are the cables' business, not the gateway's firewall's. The
    // setting exists only where the kernel has the feature.
    let _ = run_in(&network, &["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"]).await;

    let control_plane = names::control_plane_namespace();
    plug(&control_plane, CONTROL_PLANE).await?;
    for node in NodeId::first(nodes) {
        let machine = names::node_namespace(node);
        plug(&machine, node.address()).await?;
        forward(&machine).await?;
        // Each machine on the bridge finds every other node's pods.
        let route = format!("route add {} via {}", node.pod_subnet(), node.address());
        ip(&control_plane, &route).await?;
    }
    for node in NodeId::first(nodes) {
        for other in NodeId::first(nodes).filter(|other| *other != node) {
            let route = format!("route add {} via {}", other.pod_subnet(), other.address());
            ip(&names::node_namespace(node), &route).await?;
        }
    }
    Ok(())
}

/// Cuts or restores the cable between a node and the bridge.
pub(super) async fn set_link(node: NodeId, up: bool) -> Result<(), CommandError> {
    let machine = names::node_namespace(node);
    let cable = cable(&machine);
    let state = if up { "up" } else { "down" };
    ip(&names::network_namespace(), &format!("link set {cable} {state}")).await
}

/// Makes a namespace with its loopback up.
pub(super) async fn create_namespace(name: &str) -> Result<(), CommandError> {
    run("ip", ["netns", "add", name]).await?;
    ip(name, "link set lo up").await
}

/// Lets a machine pass on packets that are not for itself.
pub(super) async fn forward(namespace: &str) -> Result<(), CommandError> {
    run_in(namespace, &["sysctl", "-qw", "net.ipv4.ip_forward=1"]).await?;
    Ok(())
}

/// Runs `ip` in a namespace; `command` is split at spaces.
pub(super) async fn ip(namespace: &str, command: &str) -> Result<(), CommandError> {
    let arguments = ["-n", namespace].into_iter().chain(command.split(' '));
    run("ip", arguments).await?;
    Ok(())
}

/// Makes a machine with a cable to the bridge.
async fn plug(machine: &str, address: Ipv4Addr) -> Result<(), CommandError> {
    let network = names::network_namespace();
    let cable = cable(machine);
    create_namespace(machine).await?;
    ip(&network, &format!("link add {cable} type veth peer name eth0 netns {machine}")).await?;
    ip(&network, &format!("link set {cable} master bridge up")).await?;
    ip(machine, &format!("address add {address}/24 dev eth0")).await?;
    ip(machine, "link set eth0 up").await?;
    ip(machine, &format!("route add default via {GATEWAY}")).await
}

/// The bridge's end of a machine's cable: the namespace's last word, which fits the 15 bytes of an
/// interface name.
fn cable(machine: &str) -> &str {
    machine.rsplit('-').next().unwrap_or(machine)
}
