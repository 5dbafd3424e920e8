//! `baton forward`: a service of another peer, on a local port.

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{PeerId, ServiceName};
use clap::Args;

use super::forwards::{self, Forwards, Transport};
use super::time::time;
use super::{Failure, Pool};

#[derive(Args)]
pub(crate) struct Forward {
    /// Where to listen; port 0 takes any that is free
    #[arg(value_name = "IP:PORT")]
    local: SocketAddr,
    /// The other peer and what it calls its service, as `baton expose` prints it
    #[arg(value_name = "PEER/NAME", value_parser = target)]
    target: (PeerId, ServiceName),
    /// It is a UDP service; without this, a TCP service
    #[arg(long)]
    udp: bool,
    /// With --udp: a flow on which nothing passes for so long ends
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = time, requires = "udp")]
    idle: Duration,
    #[command(flatten)]
    pool: Pool,
}

impl Forward {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let transport = if self.udp { Transport::Udp } else { Transport::Tcp };
        let (peer, service) = self.target;
        let forward = forwards::Forward { transport, local: self.local, peer, service };
        let forwards = Forwards { exposes: Vec::new(), forwards: vec![forward], idle: self.idle };
        forwards.run(&self.pool.reach(), "forward").await
    }
}

/// Reads `PEER/NAME`.
pub(crate) fn target(text: &str) -> Result<(PeerId, ServiceName), String> {
    let (peer, name) =
        text.split_once('/').ok_or_else(|| format!("'{text}' has no '/': write PEER/NAME"))?;
    let peer = peer.parse::<PeerId>().map_err(|error| error.to_string())?;
    Ok((peer, name.parse::<ServiceName>().map_err(|error| error.to_string())?))
}
