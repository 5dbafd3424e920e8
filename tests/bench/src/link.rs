//! Two peers of a relay, of whichever kind: one sends, the other counts.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use baton_client::{Client, ClientConfig, Identity, MAX_DATAGRAM, Profile, Route};
use baton_protocol::datagram::{self, Datagram};
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use tokio::task::JoinSet;

use crate::bare;
use crate::forwarder::{Batched, JOIN, JOIN_LENGTH, buffers};
use crate::session::Session;

/// Bytes of every datagram's payload. Of one of its owners', Baton's client adds one of these.
pub(crate) const LENGTH: usize = 1200;

/// Datagrams go through a new link by then, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a receiver has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    count: AtomicU64,
    /// Of datagrams that say when they were sent: how long they took, in nanoseconds.
    delays: Mutex<Vec<u64>>,
}

impl Seen {
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn take_delays(&self) -> Vec<u64> {
        std::mem::take(&mut self.delays.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn came(&self, payload: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let sent = payload.first_chunk().map_or(0, |sent| u64::from_be_bytes(*sent));
        if sent != 0 {
            let delay = now().saturating_sub(sent);
            self.delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        }
    }
}

/// Nanoseconds since this process asked for the first time; never zero.
pub(crate) fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed().as_nanos();
    u64::try_from(passed).unwrap_or(u64::MAX).max(1)
}

enum Sender {
    Raw { socket: Arc<Batched>, relay: SocketAddr },
    Quinn(Connection),
    Session { connection: Connection, alias: u64 },
    Client(Route),
}

/// See the [module](self).
pub(crate) struct Link {
    sender: Sender,
    pub(crate) seen: Arc<Seen>,
    /// What must live as long as the link.
    _clients: Vec<Client>,
    _endpoints: Vec<Endpoint>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// Through a forwarder of raw UDP, as this pair.
    pub(crate) async fn raw(relay: SocketAddr, pair: u64) -> anyhow::Result<Self> {
        let (one, other) = (Arc::new(Batched::bind().await?), Batched::bind().await?);
        let join = [&JOIN[..], &pair.to_be_bytes()].concat();
        for socket in [&*one, &other] {
            join_raw(socket, relay, &join).await?;
        }
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let seeing = seen.clone();
        tasks.spawn(async move {
            let mut buffers = buffers();
            let take = |_, bytes: &[u8], stride: usize| {
                bytes
                    .chunks(stride)
                    .filter(|datagram| datagram.len() != JOIN_LENGTH)
                    .for_each(|datagram| seeing.came(datagram));
            };
            while other.receive(&mut buffers, take).await.is_ok() {}
        });
        Self::through(Sender::Raw { socket: one, relay }, seen, Vec::new(), Vec::new(), tasks).await
    }

    /// Through a bare loop of quinn, as this pair.
    pub(crate) async fn quinn(
        relay: SocketAddr,
        pair: u64,
        config: &quinn::ClientConfig,
    ) -> anyhow::Result<Self> {
        let endpoints = vec![bare::endpoint()?, bare::endpoint()?];
        let one = bare::connect(&endpoints[0], relay, config, pair).await?;
        let other = bare::connect(&endpoints[1], relay, config, pair).await?;
        let (seen, tasks) = see(other);
        Self::through(Sender::Quinn(one), seen, Vec::new(), endpoints, tasks).await
    }

    /// From one end of a connection to the other, without any relay: what clients cost.
    pub(crate) async fn direct(
        server: quinn::ServerConfig,
        config: &quinn::ClientConfig,
    ) -> anyhow::Result<Self> {
        let far = Endpoint::server(server, "127.0.0.1:0".parse()?)?;
        let near = bare::endpoint()?;
        let connecting =
            near.connect_with(config.clone(), far.local_addr()?, crate::subject::SERVER_NAME)?;
        let accepting = async {
            far.accept().await.context("the endpoint is closed")?.await.context("accepting")
        };
        let (one, other) =
            tokio::try_join!(async { connecting.await.context("connecting") }, accepting)?;
        let (seen, tasks) = see(other);
        Self::through(Sender::Quinn(one), seen, Vec::new(), vec![far, near], tasks).await
    }

    /// Through a relay of Baton's: from and to a connection of quinn as [`quinn`](Self::quinn)'s, so that the same comes to both relays.
    pub(crate) async fn session(
        relay: SocketAddr,
        config: &quinn::ClientConfig,
        token: &Bytes,
    ) -> anyhow::Result<Self> {
        let endpoints = vec![bare::endpoint()?, bare::endpoint()?];
        let attach = |endpoint| Session::attach(endpoint, relay, config, token.clone());
        let (mut one, other) = tokio::try_join!(attach(&endpoints[0]), attach(&endpoints[1]))?;
        let alias = one.open(other.peer).await?;
        let seen = Arc::new(Seen::default());
        let (mut tasks, seeing) = (JoinSet::new(), seen.clone());
        for control in [one.control, other.control] {
            tasks.spawn(control.know_senders());
        }
        tasks.spawn(async move {
            while let Ok(bytes) = other.connection.read_datagram().await {
                if let Ok(Datagram::Aliased { payload, .. } | Datagram::Long { payload, .. }) =
                    Datagram::decode(&bytes)
                {
                    seeing.came(&payload);
                }
            }
        });
        let sender = Sender::Session { connection: one.connection, alias };
        Self::through(sender, seen, Vec::new(), endpoints, tasks).await
    }

    /// Through a relay of Baton's, by its client.
    pub(crate) async fn client(profile: &Profile) -> anyhow::Result<Self> {
        let config = || ClientConfig::new(Identity::ephemeral(), profile.clone());
        let (one, other) = tokio::try_join!(Client::connect(config()), Client::connect(config()))?;
        let mut route = one.route(other.peer())?;
        tokio::time::timeout(PATIENCE, route.opened()).await.context("the route does not open")?;
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let (seeing, receiver) = (seen.clone(), other.clone());
        tasks.spawn(async move {
            loop {
                let (_, payload) = receiver.datagram().await;
                seeing.came(&payload);
            }
        });
        Self::through(Sender::Client(route), seen, vec![one, other], Vec::new(), tasks).await
    }

    /// Waits until datagrams come through.
    async fn through(
        sender: Sender,
        seen: Arc<Seen>,
        clients: Vec<Client>,
        endpoints: Vec<Endpoint>,
        tasks: JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let link = Self { sender, seen, _clients: clients, _endpoints: endpoints, _tasks: tasks };
        let end = Instant::now() + PATIENCE;
        while link.seen.count() == 0 {
            if Instant::now() > end {
                bail!("nothing came through a new link within {} s", PATIENCE.as_secs());
            }
            link.send(1, 0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(link)
    }

    /// Sends so many datagrams at once, which say that they were sent at `stamp`. What finds no room is lost.
    pub(crate) fn send(&self, count: usize, stamp: u64) {
        let mut payload = vec![0; LENGTH * count];
        payload
            .chunks_mut(LENGTH)
            .for_each(|datagram| datagram[..8].copy_from_slice(&stamp.to_be_bytes()));
        match &self.sender {
            Sender::Raw { socket, relay } => socket.send(*relay, &payload, LENGTH),
            Sender::Quinn(connection) => {
                let payload = Bytes::from(payload);
                for start in (0..payload.len()).step_by(LENGTH) {
                    // It does not fit until quinn has found out how large packets may be.
                    let _ = connection.send_datagram(payload.slice(start..start + LENGTH));
                }
            }
            Sender::Session { connection, alias } => {
                for payload in payload.chunks(LENGTH) {
                    // The same.
                    let _ = connection.send_datagram(datagram::aliased(*alias, payload));
                }
            }
            Sender::Client(route) => {
                for datagram in payload.chunks(LENGTH) {
                    // The client is made for datagrams of this length: it does not refuse.
                    let _ = route.send(&datagram[..MAX_DATAGRAM]);
                }
            }
        }
    }
}

fn see(connection: Connection) -> (Arc<Seen>, JoinSet<()>) {
    let seen = Arc::new(Seen::default());
    let mut tasks = JoinSet::new();
    let seeing = seen.clone();
    tasks.spawn(async move {
        while let Ok(datagram) = connection.read_datagram().await {
            seeing.came(&datagram);
        }
    });
    (seen, tasks)
}

/// Says which pair a socket belongs to, until that is answered.
async fn join_raw(socket: &Batched, relay: SocketAddr, join: &[u8]) -> io::Result<()> {
    let mut buffers = buffers();
    let mut answered = false;
    for _ in 0..100 {
        socket.send(relay, join, join.len());
        let answer = socket.receive(&mut buffers, |_, bytes, _| answered |= bytes == join);
        // No answer within that time is a reason to ask again.
        let _ = tokio::time::timeout(Duration::from_millis(100), answer).await;
        if answered {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the forwarder does not answer"))
}
