//! `baton forward`: a service of another peer, on a local port.

use std::io::Write as _;
use std::net::SocketAddr;

use baton_client::{PeerId, ServiceName, tcp};
use clap::Args;
use tokio::net::TcpListener;

use super::{Failure, Pool, until_told};

#[derive(Args)]
pub(crate) struct Forward {
    /// Where to listen; port 0 takes any that is free
    #[arg(value_name = "IP:PORT")]
    local: SocketAddr,
    /// The other peer and what it calls its service, as `baton expose` prints it
    #[arg(value_name = "PEER/NAME", value_parser = target)]
    target: (PeerId, ServiceName),
    #[command(flatten)]
    pool: Pool,
}

impl Forward {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let failed = |source| Failure::Listen { address: self.local.to_string(), source };
        let listener = TcpListener::bind(self.local).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let client = self.pool.connect().await?;
        let (peer, service) = self.target;
        writeln!(std::io::stdout(), "{local}")?;
        let ended = tokio::select! {
            () = tcp::forward(&client, &listener, peer, &service) => Ok(()),
            ended = until_told(&client) => ended,
        };
        client.close().await;
        ended
    }
}

fn target(text: &str) -> Result<(PeerId, ServiceName), String> {
    let (peer, name) =
        text.split_once('/').ok_or_else(|| format!("'{text}' has no '/': write PEER/NAME"))?;
    let peer = peer.parse::<PeerId>().map_err(|error| error.to_string())?;
    Ok((peer, name.parse::<ServiceName>().map_err(|error| error.to_string())?))
}
