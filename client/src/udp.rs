//! UDP through flows: what `baton expose udp` and `baton forward --udp` do.
//!
//! Each local address that sends has a flow of its own, and each flow has a socket of its own at the other end, so answers find
//! their way back and the service sees different callers at different ports. A flow that is quiet for long enough ends; the
//! next datagram begins another. UDP has no end of its own, so a client that closes does not wait for flows.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::id::PeerId;
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::client::Client;
use crate::e2e::{Flow, IncomingFlow, LONGEST, Rejection};
use crate::service::ServiceName;

/// A flow on which nothing passes for so long ends, unless told otherwise: a NAT must keep its mappings as long (RFC 4787,
/// REQ-5).
pub const IDLE: Duration = Duration::from_secs(120);

/// Flows of one forward at a time. A peer takes not many more streams from another; the flow that was quiet for longest makes
/// room.
const SOURCES: usize = 128;

/// Flows to exposed services at a time; more are refused.
const EXPOSED: usize = 1024;

/// Datagrams that wait while a flow is being opened.
const WAITING: usize = 32;

/// How long to wait when the system refuses what it should not.
const PAUSE: Duration = Duration::from_millis(100);

/// One who sends to a forward.
struct Source {
    datagrams: mpsc::Sender<Bytes>,
    used_at: Instant,
    task: AbortHandle,
}

/// Takes what comes to `socket` to a service of a peer, and back, until the client is closed.
pub async fn forward(
    client: &Client,
    socket: UdpSocket,
    peer: PeerId,
    service: &ServiceName,
    idle: Duration,
) {
    let socket = Arc::new(socket);
    let mut sources: HashMap<SocketAddr, Source> = HashMap::new();
    let mut tasks: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(ended) = tasks.join_next_with_id() => {
                if let Ok((id, from)) = ended
                    && sources.get(&from).is_some_and(|source| source.task.id() == id)
                {
                    sources.remove(&from);
                }
                continue;
            }
            () = client.closed() => break,
        };
        let (length, from) = match received {
            Ok(received) => received,
            // Mostly ICMP's word about a datagram of before.
            Err(error) => {
                tracing::debug!(%error, "nothing can be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let datagram = Bytes::copy_from_slice(&buffer[..length]);
        let source = sources.get_mut(&from).filter(|source| !source.datagrams.is_closed());
        if let Some(source) = source {
            source.used_at = Instant::now();
            // Full: lost, as on any network.
            let _ = source.datagrams.try_send(datagram);
            continue;
        }
        make_room(&mut sources);
        let (datagrams, waiting) = mpsc::channel(WAITING);
        // There is room: it is new.
        let _ = datagrams.try_send(datagram);
        let (client, service, socket) = (client.clone(), service.clone(), socket.clone());
        let task = tasks.spawn(async move {
            match client.open_flow(peer, &service).await {
                Ok(flow) => {
                    carry(flow, Near::Shared { socket, from, waiting }, idle).await;
                }
                Err(error) => {
                    tracing::warn!(%peer, %service, %error, "datagrams cannot be forwarded");
                }
            }
            from
        });
        sources.insert(from, Source { datagrams, used_at: Instant::now(), task });
    }
    tasks.shutdown().await;
}

/// The source that was quiet for longest goes, if there are as many as there may be.
fn make_room(sources: &mut HashMap<SocketAddr, Source>) {
    if sources.len() < SOURCES {
        return;
    }
    let quietest = sources.iter().min_by_key(|(_, source)| source.used_at).map(|(from, _)| *from);
    if let Some(source) = quietest.and_then(|from| sources.remove(&from)) {
        source.task.abort();
    }
}

/// Takes each flow to a service of this client to a UDP service, until the client is closed. The caller has offered it.
pub async fn expose(client: &Client, to: SocketAddr, idle: Duration) {
    expose_each(client, |_| Some(to), idle).await;
}

/// Takes each flow to where its service stands. One to a service that stands nowhere is refused.
pub async fn expose_each(
    client: &Client,
    stands: impl Fn(&ServiceName) -> Option<SocketAddr>,
    idle: Duration,
) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let incoming = tokio::select! {
            incoming = client.accept_flow() => incoming,
            () = client.closed() => None,
        };
        let Some(incoming) = incoming else { break };
        match stands(incoming.service()) {
            Some(to) if tasks.len() < EXPOSED => {
                tasks.spawn(expose_one(incoming, to, idle));
            }
            Some(to) => {
                tracing::warn!(%to, "there are {EXPOSED} flows: another is refused");
                incoming.reject(Rejection::Unreachable).await;
            }
            None => incoming.reject(Rejection::UnknownService).await,
        }
    }
    tasks.shutdown().await;
}

async fn expose_one(incoming: IncomingFlow, to: SocketAddr, idle: Duration) {
    match towards(to).await {
        Ok(socket) => {
            if let Ok(flow) = incoming.accept().await {
                carry(flow, Near::own(socket), idle).await;
            }
        }
        Err(error) => {
            tracing::warn!(%to, %error, "the exposed service cannot be reached");
            incoming.reject(Rejection::Unreachable).await;
        }
    }
}

async fn towards(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// The UDP side of a flow.
enum Near {
    /// One address at a socket of many.
    Shared { socket: Arc<UdpSocket>, from: SocketAddr, waiting: mpsc::Receiver<Bytes> },
    /// A socket of its own.
    Own { socket: UdpSocket, buffer: Vec<u8> },
}

impl Near {
    fn own(socket: UdpSocket) -> Self {
        Self::Own { socket, buffer: vec![0; LONGEST] }
    }

    /// The next datagram from there; none when there will be no more.
    async fn receive(&mut self) -> Option<Bytes> {
        match self {
            Self::Shared { waiting, .. } => waiting.recv().await,
            Self::Own { socket, buffer } => loop {
                match socket.recv(buffer).await {
                    Ok(length) => return Some(Bytes::copy_from_slice(&buffer[..length])),
                    // ICMP's word about a datagram of before: nobody listens there now, and later somebody may.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            },
        }
    }

    async fn send(&self, datagram: &[u8]) {
        // What cannot be sent is lost, as on any network.
        let _ = match self {
            Self::Shared { socket, from, .. } => socket.send_to(datagram, from).await,
            Self::Own { socket, .. } => socket.send(datagram).await,
        };
    }
}

/// Carries datagrams both ways until the other end ends the flow, or nothing passes for so long.
async fn carry(mut flow: Flow, mut near: Near, idle: Duration) {
    loop {
        let step = async {
            tokio::select! {
                datagram = near.receive() => (true, datagram),
                datagram = flow.receive() => (false, datagram),
            }
        };
        let Ok((out, Some(datagram))) = tokio::time::timeout(idle, step).await else { return };
        if !out {
            near.send(&datagram).await;
        } else if let Err(error) = flow.send(&datagram) {
            tracing::debug!(%error, "a flow ended");
            return;
        }
    }
}
