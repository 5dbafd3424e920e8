//! `baton expose`: a service for other peers.

use std::io::Write as _;
use std::net::SocketAddr;

use baton_client::{Allow, ServiceName, tcp};
use clap::{Args, Subcommand};

use super::{Failure, Pool, until_told};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// A TCP service
    Tcp(Tcp),
}

#[derive(Args)]
pub(crate) struct Tcp {
    /// Where it listens
    #[arg(value_name = "IP:PORT", value_parser = destination)]
    to: SocketAddr,
    /// What other peers call it
    #[arg(long = "as", value_name = "NAME")]
    name: ServiceName,
    /// Who may use it: a peer's id, `group`, or `any`; may be given more than once
    #[arg(long, default_value = "group", value_name = "WHO")]
    allow: Vec<Allow>,
    #[command(flatten)]
    pool: Pool,
}

impl Verb {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self::Tcp(tcp) = self;
        let client = tcp.pool.connect().await?;
        let allow = tcp.allow.iter().cloned().reduce(Allow::or).unwrap_or_default();
        client.offer(tcp.name.clone(), allow);
        writeln!(std::io::stdout(), "{}/{}", client.peer(), tcp.name)?;
        let ended = tokio::select! {
            () = tcp::expose(&client, tcp.to) => Ok(()),
            ended = until_told(&client) => ended,
        };
        client.close().await;
        ended
    }
}

/// An address to connect to.
fn destination(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("'{text}' is no address: write IP:PORT, as in 127.0.0.1:80"))?;
    if address.port() == 0 {
        return Err("nothing listens on port 0: give the port of the service".to_owned());
    }
    Ok(address)
}
