//! The address plan. Nothing here is reachable from the machine's own network, so it cannot clash
//! with what the machine uses.
//!
//! ```text
//! 10.200.0.0/24   the bridge: .1 gateway, .10 control plane, .11 to .19 nodes
//! 10.201.K.0/24   between the gateway (.1) and the router of outside client K (.2 and up)
//! 10.202.0.0/24   addresses of the emulated load balancer
//! 10.244.I.0/24   pods of node I
//! 10.96.0.0/16    Services
//! 192.168.1.0/24  behind each router: .1 the router, .2 the client
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Gateway of the bridge; the load balancer and the way to outside clients sit there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// The API server's machine.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 10);
/// First address of the Service network: the `kubernetes` Service.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The Service network.
pub const SERVICES: &str = "10.96.0.0/16";
/// The network of all pods.
pub const PODS: &str = "10.244.0.0/16";
/// Where a client finds its router.
pub const CLIENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The address of every outside client, each behind its own router.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// The API server's port on its machine.
pub const API_PORT: u16 = 6443;
/// How many outside clients can exist at once.
pub const CLIENTS_MAX: u8 = 64;

/// The number of a node: 1 to [`NodeId::MAX`]. Written `n1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(u8);

/// A node name that is not `n1` to `n9`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a node: nodes are n1 to n{max}", max = NodeId::MAX)]
pub struct NodeIdError(String);

impl NodeId {
    /// The highest node number.
    pub const MAX: u8 = 9;

    /// The nodes of a cluster of `count` nodes, in order; at most [`NodeId::MAX`].
    pub fn first(count: u8) -> impl Iterator<Item = Self> {
        (1..=count.min(Self::MAX)).map(Self)
    }

    /// The node's address on the bridge.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, 0, 10 + self.0)
    }

    /// The node's pods.
    #[must_use]
    pub fn pod_subnet(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.strip_prefix('n')
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=Self::MAX).contains(number))
            .map(Self)
            .filter(|node| node.to_string() == name)
            .ok_or_else(|| NodeIdError(name.to_owned()))
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<NodeId> for String {
    fn from(node: NodeId) -> Self {
        node.to_string()
    }
}

/// The network between the gateway and one client's router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uplink(u8);

impl Uplink {
    /// Every uplink, in the order in which they are tried: the one that was given out last comes last,
    /// so that each rests for as long as possible before it is another client's.
    pub fn all_after(last: Option<Self>) -> impl Iterator<Item = Self> {
        let first = last.map_or(0, |last| last.0 + 1);
        (0..CLIENTS_MAX).map(move |n| Self((first + n) % CLIENTS_MAX))
    }

    /// The gateway's address on this uplink.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, self.0, 1)
    }

    /// The router's `n`-th public address: it starts with 0 and moves on at each change of address.
    /// There are 250 of them, then they come round.
    #[must_use]
    pub fn public(self, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, self.0, 2 + n % 250)
    }

    /// The gateway's interface of this uplink.
    #[must_use]
    pub fn interface(self) -> String {
        format!("uplink{}", self.0)
    }
}

/// Every address that the load balancer may give to a Service, in the order in which it does.
pub fn balancer_addresses() -> impl Iterator<Item = Ipv4Addr> {
    (1..=254).map(|host| Ipv4Addr::new(10, 202, 0, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_as_it_is_written() {
        let nodes: Vec<String> = NodeId::first(3).map(|node| node.to_string()).collect();
        assert_eq!(nodes, ["n1", "n2", "n3"]);
        let node: NodeId = "n3".parse().unwrap();
        assert_eq!(node.address(), Ipv4Addr::new(10, 200, 0, 13));
        assert_eq!(node.pod_subnet(), "10.244.3.0/24");
        assert_eq!(NodeId::first(200).count(), usize::from(NodeId::MAX));
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for name in ["", "n", "n0", "n10", "3", "n03", "n+3", "N1", "n256"] {
            assert!(name.parse::<NodeId>().is_err(), "{name}");
        }
    }

    #[test]
    fn uplinks_go_round_and_the_last_one_comes_last() {
        let all: Vec<Uplink> = Uplink::all_after(None).collect();
        assert_eq!(all.len(), usize::from(CLIENTS_MAX));
        for (n, &last) in all.iter().enumerate() {
            let mut rotated = all.clone();
            rotated.rotate_left(n + 1);
            assert_eq!(Uplink::all_after(Some(last)).collect::<Vec<_>>(), rotated);
        }
    }

    #[test]
    fn no_two_public_addresses_in_a_row_are_equal_and_none_is_the_gateway() {
        for uplink in Uplink::all_after(None) {
            for n in 0..=u8::MAX {
                assert_ne!(uplink.public(n), uplink.public(n.wrapping_add(1)));
                assert_ne!(uplink.public(n), uplink.gateway());
                assert_ne!(uplink.public(n).octets()[3], 255);
            }
        }
    }
}
