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
    #[arg(value_name = "ADDR")]
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
