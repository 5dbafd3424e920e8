//! Outside clients: each a machine behind a router with NAT of its own, as at somebody's home.
//!
//! ```text
//! client 192.168.1.2 -- 192.168.1.1 router 10.201.K.2 -- 10.201.K.1 gateway -- bridge -- nodes
//! ```
//!
//! No client is on the nodes' bridge: what it sends to the load balancer's address must come back
//! through the load balancer.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::network::{create_namespace, forward, ip};
use super::node::forget_flows;
use crate::address::{CLIENT, CLIENT_GATEWAY, Uplink};
use crate::control::ClientStatus;
use crate::names;
use crate::run::{CommandError, run, run_in_with_input};

/// An outside client.
#[derive(Debug)]
pub(super) struct OutsideClient {
    name: String,
    uplink: Uplink,
    /// How many times the router's public address was changed.
    moves: u8,
    loss_per_mille: u16,
}

impl OutsideClient {
    /// Makes client and router, both or none.
    pub(super) async fn create(name: &str, uplink: Uplink) -> Result<Self, CommandError> {
        let client = Self { name: name.to_owned(), uplink, moves: 0, loss_per_mille: 0 };
        if let Err(error) = client.build().await {
            // Why it failed matters more than that half of it cannot be removed either.
            let _ = client.remove().await;
            return Err(error);
        }
        Ok(client)
    }

    async fn build(&self) -> Result<(), CommandError> {
        let (machine, router) = (self.machine(), self.router());
        create_namespace(&machine).await?;
        create_namespace(&router).await?;
        forward(&router).await?;

        ip(&router, &format!("link add lan type veth peer name eth0 netns {machine}")).await?;
        ip(&router, &format!("address add {CLIENT_GATEWAY}/24 dev lan")).await?;
        ip(&router, "link set lan up").await?;
        ip(&machine, &format!("address add {CLIENT}/24 dev eth0")).await?;
        ip(&machine, "link set eth0 up").await?;
        ip(&machine, &format!("route add default via {CLIENT_GATEWAY}")).await?;

        let (network, interface) = (names::network_namespace(), self.uplink.interface());
        let gateway = self.uplink.gateway();
        ip(&network, &format!("link add {interface} type veth peer name wan netns {router}"))
            .await?;
        ip(&network, &format!("address add {gateway}/24 dev {interface}")).await?;
        ip(&network, &format!("link set {interface} up")).await?;
        ip(&router, &format!("address add {}/24 dev wan", self.public())).await?;
        ip(&router, "link set wan up").await?;
        ip(&router, &format!("route add default via {gateway}")).await?;
        self.write_rules().await
    }

    /// Removes all of it. What is gone already is no error, so that a removal that failed half-way can
    /// be tried again.
    pub(super) async fn remove(&self) -> Result<(), CommandError> {
        // A namespace takes its cables with it, but some time after `ip netns delete`, and not while
        // anybody has a socket in it. The gateway's end must be gone when this returns: the next
        // client may get the same one.
        let uplink = delete_link(&names::network_namespace(), &self.uplink.interface()).await;
        let machine = delete_namespace(&self.machine()).await;
        let router = delete_namespace(&self.router()).await;
        uplink.and(machine).and(router)
    }

    pub(super) fn uplink(&self) -> Uplink {
        self.uplink
    }

    /// The address that the outside world sees.
    pub(super) fn public(&self) -> Ipv4Addr {
        self.uplink.public(self.moves)
    }

    /// Every flow gets a new source port with its next packet.
    pub(super) async fn rebind(&self) -> Result<(), CommandError> {
        forget_flows(&self.router(), "udp", &[]).await
    }

    /// Every flow gets a new source address with its next packet; what is still sent to the old one
    /// is lost.
    pub(super) async fn readdress(&mut self) -> Result<(), CommandError> {
        let old = self.public();
        self.moves = self.moves.wrapping_add(1);
        let router = self.router();
        // In this order: with the first address of a network go its other ones and the routes.
        ip(&router, &format!("address delete {old}/24 dev wan")).await?;
        ip(&router, &format!("address add {}/24 dev wan", self.public())).await?;
        ip(&router, &format!("route add default via {}", self.uplink.gateway())).await?;
        self.write_rules().await?;
        forget_flows(&router, "udp", &[]).await
    }

    pub(super) async fn lose(&mut self, per_mille: u16) -> Result<(), CommandError> {
        self.loss_per_mille = per_mille;
        self.write_rules().await
    }

    pub(super) fn status(&self) -> ClientStatus {
        ClientStatus {
            namespace: self.machine(),
            public: self.public(),
            loss_per_mille: self.loss_per_mille,
        }
    }

    fn machine(&self) -> String {
        names::client_namespace(&self.name)
    }

    fn router(&self) -> String {
        names::router_namespace(&self.name)
    }

    async fn write_rules(&self) -> Result<(), CommandError> {
        let rules = rules(self.public(), self.loss_per_mille);
        run_in_with_input(&self.router(), &["nft", "-f", "-"], &rules).await?;
        Ok(())
    }
}

/// Deletes an interface and its other end, at once. One that is not there is no error.
async fn delete_link(namespace: &str, interface: &str) -> Result<(), CommandError> {
    match ip(namespace, &format!("link delete {interface}")).await {
        Err(CommandError::Failed { said, .. }) if said.contains("Cannot find device") => Ok(()),
        deleted => deleted,
    }
}

/// Deletes a namespace's name. One that is not there is no error.
async fn delete_namespace(name: &str) -> Result<(), CommandError> {
    if !names::namespace_path(name).exists() {
        return Ok(());
    }
    run("ip", ["netns", "delete", name]).await.map(drop)
}

/// The router's rules, as one transaction.
fn rules(public: Ipv4Addr, loss_per_mille: u16) -> String {
    let mut rules = format!(
        "table ip router {{}}\n\
         delete table ip router\n\
         table ip router {{\n\
         \tchain nat {{\n\
         \t\ttype nat hook postrouting priority srcnat;\n\
         \t\toifname \"wan\" snat to {public} fully-random\n\
         \t}}\n"
    );
    if loss_per_mille > 0 {
        let _ = write!(
            rules,
            "\tchain loss {{\n\
             \t\ttype filter hook forward priority filter;\n\
             \t\tnumgen random mod 1000 < {loss_per_mille} drop\n\
             \t}}\n"
        );
    }
    rules.push_str("}\n");
    rules
}
