//! The client: what an application holds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_protocol::attachment::Ended;
use baton_protocol::datagram::MAX_PAYLOAD;
use baton_protocol::frame::{PolicyMode, Refused, Rule, RuleVerb};
use baton_protocol::id::PeerId;
use baton_protocol::policy::Policy;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::ClientConfig;
use crate::driver::{Command, Driver};
use crate::e2e::{
    EndToEnd, Flow, IncomingFlow, IncomingStream, Kind, OpenError, Peers, RecvStream, SendStream,
    SetupError,
};
use crate::events::{Event, Events, UNREAD};
use crate::inbound::{Inbound, OWN};
use crate::life::{Hold, Life};
use crate::options::{InvalidOptions, seconds};
use crate::paths::{PathLink, PathManager};
use crate::policy::{Change, PolicyError};
use crate::presence::{TooManyWatches, Watcher};
use crate::renewal::RenewError;
use crate::routes::{RouteState, Routes, TooManyRoutes};
use crate::service::{Allow, ServiceName};
use crate::session::queue::lock;
use crate::status::{Path, Status};
use crate::transport::{Outer, TlsError};

/// Questions that wait for the driver.
const COMMANDS: usize = 64;

/// How long everything may take to end, once what was under way has ended or was given up.
const FAREWELL: Duration = Duration::from_secs(5);

/// Between two changes of whom a policy lets in: relays close sessions that change it sixteen times a second.
const MODE_PAUSE: Duration = Duration::from_millis(100);

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
    pub(crate) home: Mutex<Option<Home>>,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) life: Arc<Life>,
}

/// The connection in use, as far as the status shows it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) connection: quinn::Connection,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) observed: SocketAddr,
    pub(crate) paths: Arc<PathLink>,
}

impl Shared {
    /// Tells whoever listens; nobody may.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its options make no sense.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
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
    /// When the policy's mode may be changed again.
    mode_at: tokio::sync::Mutex<Instant>,
    /// How long the end waits for what is under way.
    patience: Duration,
    /// All tasks; dropping it aborts them.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Client {
    /// Attaches to the pool of `config`. Must be called within a tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let outer = Outer::new(&config.profile, config.sockets.clone(), &config.options)?;
        let (routes, inbound) = (Arc::new(Routes::new()), Arc::new(Inbound::default()));
        let (events, mut news) = broadcast::channel(UNREAD);
        let life = Arc::new(Life::default());
        let dropped: Arc<AtomicU64> = Arc::default();
        let peers = Arc::new(Peers::new(events.clone(), life.clone(), inbound.clone()));
        let mut tasks = JoinSet::new();
        let end_to_end = EndToEnd::start(
            &config.identity,
            routes.clone(),
            inbound.clone(),
            peers.clone(),
            dropped.clone(),
            &mut tasks,
        )?;
        let shared = Arc::new(Shared {
            routes,
            inbound,
            peers,
            events,
            status: Mutex::default(),
            home: Mutex::default(),
            dropped,
            life,
        });
        let (commands, commands_out) = mpsc::channel(COMMANDS);
        let (peer, timeout) = (config.identity.peer(), config.attach_timeout);
        let patience = config.options.drain;
        let (driver, inputs) = Driver::new(config, outer, shared.clone());
        tasks.spawn(driver.run(inputs, commands_out));
        let client = Self {
            inner: Arc::new(Inner {
                peer,
                shared,
                commands,
                end_to_end,
                mode_at: tokio::sync::Mutex::new(Instant::now()),
                patience,
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

    /// Shows a newer access token to the relay, so that the session outlives the one before, and keeps it for later
    /// attachments. A token that comes from a file is renewed by itself, when the file has a newer one.
    ///
    /// # Errors
    /// If the relay does not take it. The session goes on until the end that it had.
    pub async fn renew(&self, token: impl Into<Bytes>) -> Result<(), RenewError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Renew(token.into(), reply);
        self.inner.commands.send(command).await.map_err(|_| RenewError::Closed)?;
        answer.await.map_err(|_| RenewError::Closed)?
    }

    /// Whom this client lets in, as its owner has set it.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.inner.shared.inbound.admission.policy()
    }

    /// Lets in, of those whom no rule names, the peers of its group, nobody, or every peer of the pool. It holds on this side at
    /// once. This returns when the relay has said that it keeps it; where there is no session the next one is told before
    /// anything may come for it, as it is after every move.
    ///
    /// Who is not let in learns no more than if this client were not attached. With [`PolicyMode::List`], senders of the group that are not
    /// allowed make an [`Event::Knock`]. Streams and flows that are open with whom this keeps out end as if that peer were
    /// gone: nothing comes of it any more. One change waits a tenth of a second for the one before it.
    ///
    /// # Errors
    /// [`PolicyError::NotKept`] if the relay knows no policies. It holds on this side all the same, and is told to the next relay.
    pub async fn set_policy(&self, mode: PolicyMode) -> Result<(), PolicyError> {
        let mut mode_at = self.inner.mode_at.lock().await;
        tokio::time::sleep_until((*mode_at).into()).await;
        *mode_at = Instant::now() + MODE_PAUSE;
        drop(mode_at);
        self.change_policy(Change::Mode(mode)).await
    }

    /// Lets a peer in by name, whatever group it is of and whatever [`set_policy`](Self::set_policy) says, unless it is blocked.
    /// Whoever speaks with a peer of another group allows it, or its answers do not come.
    ///
    /// # Errors
    /// As [`set_policy`](Self::set_policy); and if there are [`MAX_NAMES`](crate::MAX_NAMES) already.
    pub async fn allow(&self, peer: PeerId) -> Result<(), PolicyError> {
        self.rule(RuleVerb::Allow, peer).await
    }

    /// Takes [`allow`](Self::allow) back.
    ///
    /// # Errors
    /// As [`set_policy`](Self::set_policy).
    pub async fn disallow(&self, peer: PeerId) -> Result<(), PolicyError> {
        self.rule(RuleVerb::Disallow, peer).await
    }

    /// Keeps a peer out, whatever else holds: nothing that it sends comes any more.
    ///
    /// # Errors
    /// As [`allow`](Self::allow).
    pub async fn block(&self, peer: PeerId) -> Result<(), PolicyError> {
        self.rule(RuleVerb::Block, peer).await
    }

    /// Takes [`block`](Self::block) back.
    ///
    /// # Errors
    /// As [`set_policy`](Self::set_policy).
    pub async fn unblock(&self, peer: PeerId) -> Result<(), PolicyError> {
        self.rule(RuleVerb::Unblock, peer).await
    }

    async fn rule(&self, verb: RuleVerb, peer: PeerId) -> Result<(), PolicyError> {
        self.change_policy(Change::Rule(Rule { verb, peers: vec![peer] })).await
    }

    async fn change_policy(&self, change: Change) -> Result<(), PolicyError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Policy(change, reply);
        self.inner.commands.send(command).await.map_err(|_| PolicyError::Closed)?;
        answer.await.map_err(|_| PolicyError::Closed)?
    }

    /// Offers a service: streams to it come out of [`accept`](Self::accept). A service of that name is replaced.
    pub fn offer(&self, service: ServiceName, allow: Allow) {
        self.inner.shared.peers.offer(Kind::Stream, service, allow);
    }

    /// Offers a service of datagrams: flows to it come out of [`accept_flow`](Self::accept_flow). One of that name is replaced.
    pub fn offer_flow(&self, service: ServiceName, allow: Allow) {
        self.inner.shared.peers.offer(Kind::Flow, service, allow);
    }

    /// Opens a flow of datagrams to a service of another peer. They are sealed from end to end, and may be lost, doubled or
    /// late as any datagram may.
    pub async fn open_flow(&self, peer: PeerId, service: &ServiceName) -> Result<Flow, OpenError> {
        self.inner.end_to_end.open_flow(peer, service).await
    }

    /// The next flow that another peer wants to open to a service that is offered. None once the client is closed.
    pub async fn accept_flow(&self) -> Option<IncomingFlow> {
        self.inner.end_to_end.accept_flow().await
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

    /// The paths of its session: to try another one, and to change to it.
    #[must_use]
    pub fn paths(&self) -> PathManager {
        PathManager::new(self.inner.shared.clone())
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
        if let Some(home) = lock(&shared.home).as_ref() {
            status.rtt = Some(home.connection.rtt());
            status.path = Some(Path {
                local: home.local,
                observed: home.observed,
                remote: home.connection.remote_address(),
                connection: home.connection.stable_id(),
            });
        }
        status.active = shared.life.held();
        status.dropped = shared.dropped.load(Ordering::Relaxed) + shared.inbound.dropped();
        status
    }

    /// Something begins that [`close`](Self::close) should wait for, until what this gives is dropped. None if the end has
    /// begun: then nothing new should begin.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.inner.shared.life.hold()
    }

    /// Waits until the end has begun.
    pub async fn draining(&self) {
        self.inner.shared.life.draining().await;
    }

    /// Waits until the end is over.
    pub async fn closed(&self) {
        self.inner.shared.life.closed().await;
    }

    /// Ends it, in order: takes no new streams and tells other peers so; waits for what is [held](Self::hold), as long as
    /// [`Options::drain`](crate::Options::drain) says; then closes connections and session, waits a bounded time until peers
    /// and relay know, and ends every task. If it is closed already, this waits for that.
    pub async fn close(&self) {
        let Some(mut tasks) = lock(&self.inner.tasks).take() else { return self.closed().await };
        let shared = &self.inner.shared;
        let _end = shared.life.end();
        shared.tell(Event::Closing);
        // Where the attachment is over nothing can come to its end.
        let over = lock(&shared.status).ended.is_some();
        let left = shared.life.drain(if over { Duration::ZERO } else { self.inner.patience }).await;
        if left > 0 {
            tracing::info!(connections = left, "closed although not all has ended");
        }
        let all = async {
            // While there still is a session to say so by.
            self.inner.end_to_end.close().await;
            let _ = self.inner.commands.send(Command::Close).await;
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
        tasks.shutdown().await;
    }

    /// A [`close`](Self::close) that waits for what is under way waits no more, and goes on.
    pub fn hurry(&self) {
        self.inner.shared.life.hurry();
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
