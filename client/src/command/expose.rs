//! `baton expose`: a service for other peers.

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{Allow, ServiceName, udp};
use clap::{Args, Subcommand};

use super::forwards::{Expose, Forwards, Transport};
use super::time::time;
use super::{Failure, Pool};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// A TCP service
    Tcp(Service),
    /// A UDP service
    Udp(Udp),
}

#[derive(Args)]
pub(crate) struct Service {
    /// Where it listens
    #[arg(value_name = "IP:PORT", value_parser = destination)]
    to: SocketAddr,
    /// What other peers call it
    #[arg(long = "as", value_name = "NAME")]
    name: ServiceName,
    /// Who may use it: a peer's id, `group`, or `any`, also of other groups; may be given more than once
    #[arg(long, default_value = "group", value_name = "WHO")]
    allow: Vec<Allow>,
    #[command(flatten)]
    pool: Pool,
}

#[derive(Args)]
pub(crate) struct Udp {
    #[command(flatten)]
    service: Service,
    /// A flow on which nothing passes for so long ends
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = time)]
    idle: Duration,
}

impl Verb {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (transport, service, idle) = match self {
            Self::Tcp(service) => (Transport::Tcp, service, udp::IDLE),
            Self::Udp(Udp { service, idle }) => (Transport::Udp, service, idle),
        };
        let Service { to, name, allow, pool } = service;
        let allow = allow.into_iter().reduce(Allow::or).unwrap_or_default();
        let exposes = vec![Expose { transport, to, name, allow }];
        let forwards = Forwards { exposes, forwards: Vec::new(), idle };
        forwards.run(&pool.reach(), "expose").await
    }
}

/// An address.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("'{text}' is no address: write IP:PORT, as in 127.0.0.1:80"))
}

/// An address to connect to.
pub(crate) fn destination(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.port() == 0 {
        return Err("nothing listens on port 0: give the port of the service".to_owned());
    }
    Ok(address)
}
