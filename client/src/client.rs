//! The client: what an application holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_protocol::attachment::{Ended, Event};
use baton_protocol::datagram::MAX_PAYLOAD;
use baton_protocol::frame::Refused;
use baton_protocol::id::PeerId;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::ClientConfig;
use crate::driver::{Command, Driver};
use crate::e2e::{EndToEnd, IncomingStream, OpenError, Peers, RecvStream, SendStream, SetupError};
use crate::inbound::{Inbound, OWN};
use crate::presence::{TooManyWatches, Watcher};
use crate::routes::{RouteState, Routes, TooManyRoutes};
use crate::service::{Allow, ServiceName};
use crate::session::queue::lock;
use crate::status::Status;
use crate::transport::{Outer, TlsError};

/// Events that a slow listener may leave unread before it misses the oldest of them.
const EVENTS: usize = 256;

/// Questions that wait for the driver.
const COMMANDS: usize = 64;

/// How long everything may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The most bytes of one datagram of the owner's.
pub const MAX_DATAGRAM: usize = MAX_PAYLOAD - 1;

/// What the tasks of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) routes: Arc<Routes>,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) status: Mutex<Status>,
    /// The connection in use.
    pub(crate) home: Mutex<Option<quinn::Connection>>,
    pub(crate) dropped: Arc<AtomicU64>,
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS to the relays cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The endpoint for connections between peers cannot be set up.
    #[error(transparent)]
    EndToEnd(#[from] SetupError),
    /// A relay says no, and will say so again.
    #[error("the pool refuses this peer ({}): {}", .0.code.name(), .0.message)]
    Refused(Refused),
    /// It ended before it began.
    #[error("the pool does not take this peer: {0:?}")]
    Ended(Ended),
    /// No relay let it in for so long.
    #[error("no relay answered within {}: {problem}", seconds(*after))]
    TimedOut {
        /// How long it was tried.
        after: Duration,
        /// What went wrong last.
        problem: String,
    },
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// A datagram that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is too long.
    #[error("a datagram of {0} bytes, where at most {MAX_DATAGRAM} are carried")]
    TooLong(usize),
    /// It has no route.
    #[error(transparent)]
    Routes(#[from] TooManyRoutes),
}

/// A peer that cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The relay allows no more.
    #[error(transparent)]
    TooMany(#[from] TooManyWatches),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// One peer's life in a pool of relays. Copies are the same client; when the last of them is dropped, all its tasks end.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer: PeerId,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    end_to_end: EndToEnd,
    /// All tasks; dropping it aborts them.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Client {
    /// Attaches to the pool of `config`. Must be called within a tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let outer = Outer::new(&config.profile, config.sockets.clone())?;
        let (routes, inbound) = (Arc::new(Routes::new()), Arc::new(Inbound::default()));
        let peers = Arc::new(Peers::default());
        let mut tasks = JoinSet::new();
        let end_to_end = EndToEnd::start(
            &config.identity,
            routes.clone(),
            inbound.clone(),
            peers.clone(),
            &mut tasks,
        )?;
        let (events, mut news) = broadcast::channel(EVENTS);
        let shared = Arc::new(Shared {
            routes,
            inbound,
            peers,
            events,
            status: Mutex::default(),
            home: Mutex::default(),
            dropped: Arc::default(),
        });
        let (commands, commands_out) = mpsc::channel(COMMANDS);
        let (peer, timeout) = (config.identity.peer(), config.attach_timeout);
        let (driver, inputs) = Driver::new(config, outer, shared.clone());
        tasks.spawn(driver.run(inputs, commands_out));
        let client = Self {
            inner: Arc::new(Inner {
                peer,
                shared,
                commands,
                end_to_end,
                tasks: Mutex::new(Some(tasks)),
            }),
        };
        let attached = client.attached(&mut news);
        let result = match timeout {
            Some(after) => tokio::time::timeout(after, attached).await.unwrap_or_else(|_| {
                let problem = client
                    .status()
                    .last_problem
                    .unwrap_or_else(|| "there was no answer at all".to_owned());
                Err(ConnectError::TimedOut { after, problem })
            }),
            None => attached.await,
        };
        if result.is_err() {
            client.close().await;
        }
        result.map(|()| client)
    }

    /// Who this is.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.inner.peer
    }

    /// A route for datagrams of the owner's own to `peer`. It lives as long as the [`Route`].
    ///
    /// These datagrams are carried as they are: **relays can read them**, so whoever sends them seals them (as WireGuard
    /// does). Streams, by [`open`](Self::open), are sealed from end to end.
    pub fn route(&self, peer: PeerId) -> Result<Route, TooManyRoutes> {
        let state = self.inner.shared.routes.hold(peer, Instant::now())?;
        Ok(Route { peer, routes: self.inner.shared.routes.clone(), state })
    }

    /// The next datagram that another peer sent by a [`Route`], and who sent it.
    pub async fn datagram(&self) -> (PeerId, Bytes) {
        self.inner.shared.inbound.datagram().await
    }

    /// Watches whether `peer` is attached to the pool.
    pub async fn watch(&self, peer: PeerId) -> Result<Watcher, WatchError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Watch(peer, reply);
        self.inner.commands.send(command).await.map_err(|_| WatchError::Closed)?;
        Ok(answer.await.map_err(|_| WatchError::Closed)??)
    }

    /// Offers a service: streams to it come out of [`accept`](Self::accept). A service of that name is replaced.
    pub fn offer(&self, service: ServiceName, allow: Allow) {
        self.inner.shared.peers.offer(service, allow);
    }

    /// Opens a stream to a service of another peer. The bytes are sealed from end to end, and neither side notices that
    /// relays come and go. A stream is delivered whole once its `stopped()` says so; closing the client does not wait for it.
    pub async fn open(
        &self,
        peer: PeerId,
        service: &ServiceName,
    ) -> Result<(SendStream, RecvStream), OpenError> {
        self.inner.end_to_end.open(peer, service).await
    }

    /// The next stream that another peer wants to open to a service that is offered. None once the client is closed.
    pub async fn accept(&self) -> Option<IncomingStream> {
        self.inner.end_to_end.accept().await
    }

    /// The round trip to a peer, from end to end.
    pub async fn ping(&self, peer: PeerId) -> Result<Duration, OpenError> {
        self.inner.end_to_end.ping(peer).await
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.inner.shared.events.subscribe() }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let mut status = lock(&shared.status).clone();
        status.rtt = lock(&shared.home).as_ref().map(quinn::Connection::rtt);
        status.dropped = shared.dropped.load(Ordering::Relaxed) + shared.inbound.dropped();
        status
    }

    /// Ends it: tells other peers and the relay, waits a bounded time until they know, and ends every task.
    pub async fn close(&self) {
        let Some(mut tasks) = lock(&self.inner.tasks).take() else { return };
        let all = async {
            // While there still is a session to say so by.
            self.inner.end_to_end.close().await;
            let _ = self.inner.commands.send(Command::Close).await;
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
        tasks.shutdown().await;
    }

    async fn attached(&self, news: &mut broadcast::Receiver<Event>) -> Result<(), ConnectError> {
        loop {
            match news.recv().await {
                Ok(Event::Attached { .. } | Event::Resumed { .. }) => return Ok(()),
                Ok(Event::Ended(Ended::Refused(refused))) => {
                    return Err(ConnectError::Refused(refused));
                }
                Ok(Event::Ended(why)) => return Err(ConnectError::Ended(why)),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(ConnectError::Ended(Ended::ByOwner)),
            }
        }
    }
}

/// What happens to a client.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; none once the client is closed. Whoever reads too slowly misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events were read too slowly")
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A way for datagrams to one peer. It goes by whichever relay the client is attached to.
#[derive(Clone, Debug)]
pub struct Route {
    peer: PeerId,
    routes: Arc<Routes>,
    state: watch::Receiver<RouteState>,
}

impl Route {
    /// Where it leads.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> RouteState {
        *self.state.borrow()
    }

    /// Waits until it is open.
    pub async fn opened(&mut self) {
        // The sender is kept by the table while there is a receiver.
        let _ = self.state.wait_for(|state| *state == RouteState::Open).await;
    }

    /// Sends a datagram. It may be lost, doubled or late, as any; if too many wait, the oldest is dropped and counted.
    pub fn send(&self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > MAX_DATAGRAM {
            return Err(SendError::TooLong(payload.len()));
        }
        let mut datagram = BytesMut::with_capacity(1 + payload.len());
        datagram.put_u8(OWN);
        datagram.put_slice(payload);
        Ok(self.routes.send(self.peer, &datagram, Instant::now())?)
    }
}
