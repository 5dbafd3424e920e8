//! A network in between, for UDP: it delays, reorders, loses and repeats datagrams.
//!
//! The kernels of test machines often have no `netem`, so this stands between a client and a server:
//! the client sends to the proxy, which sends on from a socket of its own for each client.

mod link;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use self::link::{Conditions, Link};
use crate::outside::Outside;

/// Clients at once; datagrams of further ones are lost.
const CLIENTS_MAX: usize = 1024;

/// Datagrams that may wait for a client's task.
const QUEUE: usize = 1024;

/// The largest UDP payload.
const DATAGRAM_MAX: usize = 65_535;

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct UdpProxy {
    address: SocketAddr,
    _task: JoinSet<()>,
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
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Nobody waits for it: what goes through it falls silent, and this says why.
            let Err(error) = run(Arc::new(front), outside, server, conditions, seed).await;
            eprintln!("the UDP proxy at {address} ended: {error}");
        });
        Ok(Self { address, _task: task })
    }

    /// Where clients send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn run(
    front: Arc<UdpSocket>,
    outside: Arc<Outside>,
    server: SocketAddr,
    conditions: Both,
    seed: u64,
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
            let back = outside.udp().await?;
            back.connect(server).await?;
            let (sender, datagrams) = mpsc::channel(QUEUE);
            // Each client's chances are its own, whatever the others do.
            let seed = seed.wrapping_add(clients.len() as u64);
            let links = (Link::new(conditions.up, seed), Link::new(conditions.down, !seed));
            tasks.spawn(serve(datagrams, back, Arc::clone(&front), client, links));
            clients.insert(client, sender);
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
    back: UdpSocket,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    (mut up, mut down): (Link, Link),
) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let due = [up.next_due(), down.next_due()].into_iter().flatten().min();
        tokio::select! {
            datagram = from_client.recv() => match datagram {
                Some(datagram) => up.offer(Instant::now(), &datagram),
                None => return,
            },
            received = back.recv(&mut buffer) => {
                // ECONNREFUSED reports an earlier datagram.
                if let Ok(length) = received {
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
