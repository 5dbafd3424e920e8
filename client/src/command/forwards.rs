//! What `baton expose`, `forward` and `run` have in common: services and ports, until somebody says stop.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{Allow, Client, PeerId, ServiceName, tcp, udp};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::control::Control;
use super::{Failure, Reach, close, policy, until_told};

/// What is carried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A service for other peers.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Expose {
    pub(crate) transport: Transport,
    pub(crate) to: SocketAddr,
    pub(crate) name: ServiceName,
    pub(crate) allow: Allow,
}

/// A service of another peer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Forward {
    pub(crate) transport: Transport,
    pub(crate) local: SocketAddr,
    pub(crate) peer: PeerId,
    pub(crate) service: ServiceName,
}

/// All that one process carries.
#[derive(Debug)]
pub(crate) struct Forwards {
    pub(crate) exposes: Vec<Expose>,
    pub(crate) forwards: Vec<Forward>,
    /// How long a UDP flow may be quiet.
    pub(crate) idle: Duration,
}

enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    async fn bind(forward: &Forward) -> Result<(Self, SocketAddr), Failure> {
        let failed = |source| Failure::Listen { address: forward.local.to_string(), source };
        Ok(match forward.transport {
            Transport::Tcp => {
                let listener = TcpListener::bind(forward.local).await.map_err(failed)?;
                let local = listener.local_addr().map_err(failed)?;
                (Self::Tcp(listener), local)
            }
            Transport::Udp => {
                let socket = UdpSocket::bind(forward.local).await.map_err(failed)?;
                let local = socket.local_addr().map_err(failed)?;
                (Self::Udp(socket), local)
            }
        })
    }
}

impl Forwards {
    /// Carries until Ctrl-C or SIGTERM. Prints a line for each service and port, in their order, once all are there.
    pub(crate) async fn run(self, reach: &Reach, verb: &'static str) -> Result<(), Failure> {
        let mut bound = Vec::new();
        for forward in &self.forwards {
            bound.push(Bound::bind(forward).await?);
        }
        let allowed = self.exposes.iter().map(|expose| &expose.allow);
        let speaks_with = self.forwards.iter().map(|forward| forward.peer);
        let client = reach.connect(policy::of(allowed, speaks_with)).await?;
        let _control = Control::start(&client, verb);
        let mut tasks = JoinSet::new();
        self.expose(&client, &mut tasks);
        let mut lines: Vec<String> = self
            .exposes
            .iter()
            .map(|expose| format!("{}/{}", client.peer(), expose.name))
            .collect();
        for (forward, (bound, local)) in self.forwards.into_iter().zip(bound) {
            lines.push(local.to_string());
            let (client, idle) = (client.clone(), self.idle);
            let Forward { peer, service, .. } = forward;
            tasks.spawn(async move {
                match bound {
                    Bound::Tcp(listener) => tcp::forward(&client, listener, peer, &service).await,
                    Bound::Udp(socket) => udp::forward(&client, socket, peer, &service, idle).await,
                }
            });
        }
        let printed = writeln!(std::io::stdout(), "{}", lines.join("\n"));
        let ended = match printed {
            Ok(()) => until_told(&client).await,
            Err(error) => Err(error.into()),
        };
        close(&client).await;
        while tasks.join_next().await.is_some() {}
        ended
    }

    fn expose(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let mut stands: BTreeMap<(Transport, ServiceName), SocketAddr> = BTreeMap::new();
        for Expose { transport, to, name, allow } in &self.exposes {
            match transport {
                Transport::Tcp => client.offer(name.clone(), allow.clone()),
                Transport::Udp => client.offer_flow(name.clone(), allow.clone()),
            }
            stands.insert((*transport, name.clone()), *to);
        }
        if stands.keys().any(|(transport, _)| *transport == Transport::Tcp) {
            let (client, stands) = (client.clone(), stands.clone());
            tasks.spawn(async move {
                let stands =
                    |name: &ServiceName| stands.get(&(Transport::Tcp, name.clone())).copied();
                tcp::expose_each(&client, stands).await;
            });
        }
        if stands.keys().any(|(transport, _)| *transport == Transport::Udp) {
            let (client, idle) = (client.clone(), self.idle);
            tasks.spawn(async move {
                let stands =
                    |name: &ServiceName| stands.get(&(Transport::Udp, name.clone())).copied();
                udp::expose_each(&client, stands, idle).await;
            });
        }
    }
}
