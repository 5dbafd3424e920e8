//! A network in between, for UDP: it delays, reorders, loses and repeats datagrams, and rebinds its clients.
//!
//! The kernels of test machines often have no `netem`, so this stands between a client and a server:
//! the client sends to the proxy, which sends on from a socket of its own for each client.

mod link;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_protocol::path::probe;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use self::link::{Bottleneck, Conditions, Link};
use crate::outside::Outside;

/// Clients at once; datagrams of further ones are lost.
const CLIENTS_MAX: usize = 4096;

/// Datagrams that may wait for a client's task.
const QUEUE: usize = 1024;

/// The largest UDP payload.
const DATAGRAM_MAX: usize = 65_535;

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct UdpProxy {
    address: SocketAddr,
    rebindings: watch::Sender<Rebinding>,
    newcomers: watch::Sender<Newcomers>,
    seen: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

/// What happens to every client that is there.
#[derive(Debug, Clone, Copy)]
struct Rebinding {
    path: Path,
    lose: u32,
}

/// How clients are treated that come from now on; a client is an address that packets come from.
#[derive(Debug, Clone, Copy)]
struct Newcomers {
    conditions: Both,
    lose: u32,
}

/// What a client's new path carries after a rebinding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Everything.
    Whole,
    /// What the client sends, and no answer.
    NoWayBack,
}

/// How a proxy treats each direction.
#[derive(Debug, Clone, Copy)]
pub struct Both {
    /// From the client to the server.
    pub up: Conditions,
    /// From the server to the client.
    pub down: Conditions,
}

impl Both {
    /// The same in both directions.
    #[must_use]
    pub fn same(conditions: Conditions) -> Self {
        Self { up: conditions, down: conditions }
    }
}

impl UdpProxy {
    /// Starts a proxy to `server` on the client machine itself. `seed` decides all chances.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub async fn start(
        outside: Arc<Outside>,
        server: SocketAddr,
        conditions: Both,
        seed: u64,
    ) -> io::Result<Self> {
        let front = outside.udp().await?;
        // A socket bound to any address names none: clients of the same machine use the loopback.
        let address = SocketAddr::from(([127, 0, 0, 1], front.local_addr()?.port()));
        let (rebindings, rebound) = watch::channel(Rebinding { path: Path::Whole, lose: 0 });
        let (newcomers, conditions) = watch::channel(Newcomers { conditions, lose: 0 });
        let seen = Arc::<AtomicUsize>::default();
        let count = seen.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let way = Way { outside, server, rebound };
            // Nobody waits for it: what goes through it falls silent, and this says why.
            let Err(error) = run(Arc::new(front), way, conditions, seed, count).await;
            eprintln!("the UDP proxy at {address} ended: {error}");
        });
        Ok(Self { address, rebindings, newcomers, seen, _task: task })
    }

    /// Where clients send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many addresses packets have come from.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    /// As a NAT that forgets its mappings: the server sees every client of now at a new port, on such a path. What it still
    /// sends to the old port is lost. Clients that come later have whole paths.
    pub fn rebind(&self, path: Path) {
        self.rebind_and_lose(path, 0);
    }

    /// The same, and the next so many packets of each client are lost.
    pub fn rebind_and_lose(&self, path: Path, lose: u32) {
        self.rebindings.send_replace(Rebinding { path, lose });
    }

    /// Clients that come from now on have such paths, and their first so many packets are lost, probes of paths not counted.
    pub fn newcomers(&self, conditions: Both, lose: u32) {
        self.newcomers.send_replace(Newcomers { conditions, lose });
    }
}

/// The way to the server.
#[derive(Debug, Clone)]
struct Way {
    outside: Arc<Outside>,
    server: SocketAddr,
    rebound: watch::Receiver<Rebinding>,
}

impl Way {
    /// Another socket to go by.
    async fn socket(&self) -> io::Result<UdpSocket> {
        let socket = self.outside.udp().await?;
        socket.connect(self.server).await?;
        Ok(socket)
    }
}

async fn run(
    front: Arc<UdpSocket>,
    way: Way,
    newcomers: watch::Receiver<Newcomers>,
    seed: u64,
    seen: Arc<AtomicUsize>,
) -> io::Result<Infallible> {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let (length, client) = front.recv_from(&mut buffer).await?;
        if !clients.contains_key(&client) {
            if clients.len() >= CLIENTS_MAX {
                continue;
            }
            let mut way = way.clone();
            // What was ordered before it came is not meant for it.
            way.rebound.mark_unchanged();
            let back = way.socket().await?;
            let (sender, datagrams) = mpsc::channel(QUEUE);
            // Each client's chances are its own, whatever the others do.
            let seed = seed.wrapping_add(clients.len() as u64);
            let Newcomers { conditions, lose } = *newcomers.borrow();
            let links = (Link::new(conditions.up, seed), Link::new(conditions.down, !seed));
            tasks.spawn(serve(datagrams, (way, back), Arc::clone(&front), client, links, lose));
            clients.insert(client, sender);
            seen.store(clients.len(), Ordering::Relaxed);
        }
        if let Some(sender) = clients.get(&client) {
            // Full: lost, as on any network.
            let _ = sender.try_send(buffer[..length].to_vec());
        }
    }
}

/// Carries one client's datagrams both ways.
async fn serve(
    mut from_client: mpsc::Receiver<Vec<u8>>,
    (mut way, mut back): (Way, UdpSocket),
    front: Arc<UdpSocket>,
    client: SocketAddr,
    (mut up, mut down): (Link, Link),
    mut lose: u32,
) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut path = Path::Whole;
    loop {
        let due = [up.next_due(), down.next_due()].into_iter().flatten().min();
        tokio::select! {
            datagram = from_client.recv() => match datagram {
                Some(datagram) if lose > 0 && probe::id_of(&datagram).is_none() => lose -= 1,
                Some(datagram) => up.offer(Instant::now(), &datagram),
                None => return,
            },
            Ok(()) = way.rebound.changed() => {
                (path, lose) = {
                    let rebinding = way.rebound.borrow_and_update();
                    (rebinding.path, rebinding.lose)
                };
                match way.socket().await {
                    Ok(socket) => back = socket,
                    Err(error) => return eprintln!("{client} is cut off: {error}"),
                }
            }
            received = back.recv(&mut buffer) => {
                // ECONNREFUSED reports an earlier datagram.
                if let (Ok(length), Path::Whole) = (received, path) {
                    down.offer(Instant::now(), &buffer[..length]);
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        // A failed send is a lost datagram.
        while let Some(datagram) = up.take_due(Instant::now()) {
            let _ = back.send(&datagram).await;
        }
        while let Some(datagram) = down.take_due(Instant::now()) {
            let _ = front.send_to(&datagram, client).await;
        }
    }
}
