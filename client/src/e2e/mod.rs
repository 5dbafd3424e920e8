//! From end to end: QUIC connections between peers, inside the datagrams that relays carry.
//!
//! One inner endpoint is client and server for all peers. It takes peers for addresses and routes for a network, and never
//! learns that a relay changed: a connection ends by its own idle timeout or by its owners, and by nothing else.

mod address;
mod congestion;
mod flow;
mod peers;
mod socket;
mod stream;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use baton_protocol::id::PeerId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    Connection, ConnectionError, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    Incoming, ServerConfig, TransportConfig, VarInt,
};
use sha2::Sha256;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::address::Addresses;
use self::congestion::NudgeableCubic;
pub(crate) use self::flow::LONGEST;
pub use self::flow::{Flow, FlowError, IncomingFlow};
use self::flow::{Flows, Place};
pub(crate) use self::peers::{Kind, Peers};
use self::socket::RelayedSocket;
pub(crate) use self::stream::ABANDONED;
pub use self::stream::{Gone, IncomingStream, RecvStream, Rejection, SendStream};
use self::stream::{Wanted, opening, read_answer, read_opening};
use self::tls::PeerTls;
use crate::identity::Identity;
use crate::inbound::Inbound;
use crate::routes::{RouteState, Routes, TooManyRoutes};
use crate::service::ServiceName;
use crate::transport::ack_frequency;

/// Packets between peers have one size: what every session carries.
const MTU: u16 = baton_protocol::datagram::MAX_PAYLOAD as u16;

/// How long a connection between peers lives without a word: longer than any session takes to come back.
const IDLE: Duration = Duration::from_secs(90);

const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a connection to a peer may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a peer may be offline while we connect to it. It may be moving.
const OFFLINE: Duration = Duration::from_secs(3);

/// How long a peer may take to say what a stream is for, and what stands behind a service to answer.
const OPENING: Duration = Duration::from_secs(15);

/// How long the endpoint may take to tell other peers of its end.
const FAREWELL: Duration = Duration::from_millis(1000);

/// Streams of one peer at a time.
const STREAMS: u32 = 256;

/// Handshakes of other peers at a time.
const HANDSHAKES: usize = 256;

/// Streams that the owner has not taken yet, and connections that were just made.
const WAITING: usize = 64;

/// Bytes in flight of one stream, and of one connection.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const WINDOW: u32 = 4 * STREAM_WINDOW;

/// Bytes of datagrams that wait to be sent on one connection, and to be read. When there are more, the oldest go.
const DATAGRAMS: usize = 256 * 1024;

/// Datagrams of one peer that come by streams of their own, at a time.
const LARGE_DATAGRAMS: u32 = 32;

const CLOSED: VarInt = VarInt::from_u32(0);
const IMPOSTOR: VarInt = VarInt::from_u32(1);

/// The endpoint between peers cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its certificate cannot.
    #[error("no certificate can be made with this key: {0}")]
    Certificate(String),
    /// Its TLS cannot.
    #[error("TLS between peers cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no runtime, or the endpoint does not like its settings.
    #[error("the endpoint between peers cannot be made: {0}")]
    Endpoint(#[source] std::io::Error),
}

/// A stream that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer says no.
    #[error("{0}")]
    Rejected(#[source] Rejection),
    /// The pool knows no such peer.
    #[error("the peer is not attached to the pool, or does not let this peer in")]
    Offline,
    /// The peer is there and does not answer.
    #[error("the peer does not answer")]
    NoAnswer,
    /// The connection to the peer was lost.
    #[error("the connection to the peer was lost: {0}")]
    Lost(#[source] ConnectionError),
    /// There are too many routes.
    #[error(transparent)]
    Routes(#[from] TooManyRoutes),
    /// The relay says that there are too many routes.
    #[error("the relay allows no more routes")]
    RouteRefused,
    /// The connection cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The client is closed.
    #[error("the client is closing, or closed")]
    Closed,
}

/// The inner endpoint.
#[derive(Debug)]
pub(crate) struct EndToEnd {
    endpoint: Endpoint,
    tls: PeerTls,
    transport: Arc<TransportConfig>,
    routes: Arc<Routes>,
    addresses: Arc<Addresses>,
    peers: Arc<Peers>,
    flows: Arc<Flows>,
    made: mpsc::Sender<(PeerId, Connection)>,
    accepted_flows: tokio::sync::Mutex<mpsc::Receiver<IncomingFlow>>,
    streams: tokio::sync::Mutex<mpsc::Receiver<IncomingStream>>,
}

impl EndToEnd {
    pub(crate) fn start(
        identity: &Identity,
        routes: Arc<Routes>,
        inbound: Arc<Inbound>,
        peers: Arc<Peers>,
        dropped: Arc<AtomicU64>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, SetupError> {
        let tls = PeerTls::new(identity)?;
        let addresses = Arc::new(Addresses::default());
        let socket =
            RelayedSocket { routes: routes.clone(), inbound, addresses: addresses.clone() };
        let transport = Arc::new(transport());
        let mut server = ServerConfig::with_crypto(Arc::new(tls.for_others()?));
        // An address is a peer: a connection never goes to another.
        server.transport_config(transport.clone()).migration(false).max_incoming(HANDSHAKES);
        let runtime = quinn::default_runtime();
        let runtime = runtime.ok_or_else(|| {
            SetupError::Endpoint(std::io::Error::other("there is no async runtime"))
        })?;
        let endpoint = Endpoint::new_with_abstract_socket(
            config(identity),
            Some(server),
            Arc::new(socket),
            runtime,
        )
        .map_err(SetupError::Endpoint)?;
        let (made, new) = mpsc::channel(WAITING);
        let (accepted, streams) = mpsc::channel(WAITING);
        let (accepted_flow, flows_out) = mpsc::channel(WAITING);
        let flows = Arc::new(Flows::new(dropped));
        let keeper = Keeper {
            addresses: addresses.clone(),
            peers: peers.clone(),
            flows: flows.clone(),
            accepted,
            accepted_flow,
        };
        tasks.spawn(keeper.run(endpoint.clone(), new));
        let streams = tokio::sync::Mutex::new(streams);
        let accepted_flows = tokio::sync::Mutex::new(flows_out);
        Ok(Self {
            endpoint,
            tls,
            transport,
            routes,
            addresses,
            peers,
            flows,
            made,
            accepted_flows,
            streams,
        })
    }

    pub(crate) async fn open(
        &self,
        peer: PeerId,
        service: &ServiceName,
    ) -> Result<(SendStream, RecvStream), OpenError> {
        Ok(self.open_stream(peer, &Wanted::Service(service.clone())).await?.streams)
    }

    pub(crate) async fn open_flow(
        &self,
        peer: PeerId,
        service: &ServiceName,
    ) -> Result<Flow, OpenError> {
        let opened = self.open_stream(peer, &Wanted::Flow(service.clone())).await?;
        let Opened { connection, place, streams } = opened;
        Ok(Flow::new(peer, connection, place, streams))
    }

    pub(crate) async fn ping(&self, peer: PeerId) -> Result<Duration, OpenError> {
        let (mut send, mut receive) = self.open_stream(peer, &Wanted::Ping).await?.streams;
        let began = Instant::now();
        let echo = async {
            let nonce: [u8; 8] = rand::random();
            let mut back = [0; 8];
            send.write_all(&nonce).await.ok()?;
            send.finish().ok()?;
            receive.read_exact(&mut back).await.ok()?;
            (back == nonce).then(|| began.elapsed())
        };
        tokio::time::timeout(CONNECT, echo).await.ok().flatten().ok_or(OpenError::NoAnswer)
    }

    pub(crate) async fn accept(&self) -> Option<IncomingStream> {
        self.streams.lock().await.recv().await
    }

    pub(crate) async fn accept_flow(&self) -> Option<IncomingFlow> {
        self.accepted_flows.lock().await.recv().await
    }

    pub(crate) async fn close(&self) {
        self.endpoint.close(CLOSED, b"");
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }

    async fn open_stream(&self, peer: PeerId, wanted: &Wanted) -> Result<Opened, OpenError> {
        if !self.peers.life.is_open() {
            return Err(OpenError::Closed);
        }
        let (connection, was_there) = self.connection(peer).await?;
        match self.open_on(connection, wanted).await {
            // The peer may be another process than the one that this connection was made to, and have forgotten it.
            Err(OpenError::Lost(_)) if was_there => {
                let (connection, _) = self.connection(peer).await?;
                self.open_on(connection, wanted).await
            }
            result => result,
        }
    }

    async fn open_on(&self, connection: Connection, wanted: &Wanted) -> Result<Opened, OpenError> {
        let opened = async {
            let lost =
                || OpenError::Lost(connection.close_reason().unwrap_or(ConnectionError::Reset));
            let (mut send, mut receive) = connection.open_bi().await.map_err(OpenError::Lost)?;
            // Before the other end knows of the flow, because its datagrams may overtake its answer.
            let place = self.flows.register(&connection, send.id());
            send.write_all(&opening(wanted)).await.map_err(|_| lost())?;
            let answer = read_answer(&mut receive).await;
            let answer = answer.map_err(|_| {
                connection.close_reason().map_or(OpenError::NoAnswer, OpenError::Lost)
            })?;
            answer.map_err(OpenError::Rejected)?;
            Ok((place, (send, receive)))
        };
        let opened =
            tokio::time::timeout(OPENING, opened).await.unwrap_or(Err(OpenError::NoAnswer));
        opened.map(|(place, streams)| Opened { connection, place, streams })
    }

    /// The connection to a peer, and whether it was there before.
    async fn connection(&self, peer: PeerId) -> Result<(Connection, bool), OpenError> {
        let place = self.peers.place(peer);
        let mut place = place.lock().await;
        if let Some(connection) =
            place.as_ref().filter(|connection| connection.close_reason().is_none())
        {
            return Ok((connection.clone(), true));
        }
        let connection = self.dial(peer).await?;
        *place = Some(connection.clone());
        drop(place);
        self.made.send((peer, connection.clone())).await.map_err(|_| OpenError::Closed)?;
        Ok((connection, false))
    }

    async fn dial(&self, peer: PeerId) -> Result<Connection, OpenError> {
        let mut state = self.routes.hold(peer, Instant::now())?;
        let mut config = quinn::ClientConfig::new(Arc::new(self.tls.towards(peer)?));
        config.transport_config(self.transport.clone());
        let address = self.addresses.of(peer);
        let connecting = self
            .endpoint
            .connect_with(config, address, tls::NAME)
            .map_err(|_| OpenError::Closed)?;
        tokio::select! {
            connected = connecting => connected.map_err(OpenError::Lost),
            error = hopeless(&mut state) => Err(error),
            () = tokio::time::sleep(CONNECT) => Err(OpenError::NoAnswer),
        }
    }
}

/// Waits until the relay's words about a route leave no hope.
async fn hopeless(state: &mut watch::Receiver<RouteState>) -> OpenError {
    let bad = |state: &RouteState| matches!(state, RouteState::Offline | RouteState::TooMany);
    loop {
        let now = match state.wait_for(bad).await {
            Ok(state) => *state,
            Err(_) => return OpenError::Closed,
        };
        if now == RouteState::TooMany {
            return OpenError::RouteRefused;
        }
        let online = state.wait_for(|state| *state != RouteState::Offline);
        if tokio::time::timeout(OFFLINE, online).await.is_err() {
            return OpenError::Offline;
        }
    }
}

/// A stream that was opened, and accepted by the other end.
struct Opened {
    connection: Connection,
    /// For the datagrams that bear its number.
    place: Place,
    streams: (SendStream, RecvStream),
}

/// Keeps the connections between peers and takes what comes on them. Its tasks end with it.
struct Keeper {
    addresses: Arc<Addresses>,
    peers: Arc<Peers>,
    flows: Arc<Flows>,
    accepted: mpsc::Sender<IncomingStream>,
    accepted_flow: mpsc::Sender<IncomingFlow>,
}

impl Keeper {
    async fn run(self, endpoint: Endpoint, mut made: mpsc::Receiver<(PeerId, Connection)>) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => drop(tasks.spawn(this.clone().incoming(incoming))),
                    None => break,
                },
                Some((peer, connection)) = made.recv() => drop(tasks.spawn(this.clone().keep(peer, connection))),
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a connection ended by itself");
                    }
                }
            }
        }
        // The endpoint is closed, and with it each connection.
        while tasks.join_next().await.is_some() {}
    }

    async fn incoming(self: Arc<Self>, incoming: Incoming) {
        let claimed = self.addresses.peer(incoming.remote_address());
        let Ok(Ok(connection)) = tokio::time::timeout(CONNECT, incoming).await else { return };
        match claimed {
            Some(peer) if tls::peer_of(&connection) == Some(peer) => {
                self.keep(peer, connection).await
            }
            _ => {
                tracing::warn!(?claimed, "a peer connected with another peer's key");
                connection.close(IMPOSTOR, b"the key is not that of the sender");
            }
        }
    }

    async fn keep(self: Arc<Self>, peer: PeerId, connection: Connection) {
        let poked = self.peers.lives(peer, &connection);
        let mut tasks = JoinSet::new();
        let mut told = false;
        loop {
            tokio::select! {
                () = poked.notified() => drop(tasks.spawn(congestion::nudge(connection.clone()))),
                () = self.peers.life.draining(), if !told => {
                    told = true;
                    tasks.spawn(stream::say_closing(connection.clone()));
                }
                // That the connection is lost is said by the one that waits for streams.
                Ok(datagram) = connection.read_datagram() => self.flows.deliver(&connection, &datagram),
                Ok(receive) = connection.accept_uni() => {
                    let (this, connection) = (self.clone(), connection.clone());
                    tasks.spawn(async move {
                        if let Some(datagram) = flow::read_large(receive).await {
                            this.flows.deliver(&connection, &datagram);
                        }
                    });
                }
                opened = connection.accept_bi() => match opened {
                    Ok(streams) => drop(tasks.spawn(self.clone().stream(peer, connection.clone(), streams))),
                    Err(error) => {
                        tracing::debug!(?peer, %error, "a connection between peers ended");
                        break;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        self.peers.ended(peer, &connection);
        tasks.shutdown().await;
    }

    async fn stream(
        self: Arc<Self>,
        peer: PeerId,
        connection: Connection,
        (send, mut receive): (SendStream, RecvStream),
    ) {
        let wanted = tokio::time::timeout(OPENING, read_opening(&mut receive)).await;
        let (kind, service) = match wanted {
            Ok(Some(Wanted::Service(service))) => (Kind::Stream, service),
            Ok(Some(Wanted::Flow(service))) => (Kind::Flow, service),
            Ok(Some(Wanted::Ping)) => return stream::echo(send, receive).await,
            Ok(Some(Wanted::Closing)) => return self.peers.closing(peer),
            Ok(None) | Err(_) => {
                return stream::reject(send, receive, Rejection::NotUnderstood).await;
            }
        };
        if let Err(why) = self.peers.judge(kind, &service, &peer) {
            return stream::reject(send, receive, why).await;
        }
        let asked = IncomingStream { peer, service, streams: Some((send, receive)) };
        // Waits for the owner; the peer gives up by itself.
        match kind {
            Kind::Stream => drop(self.accepted.send(asked).await),
            Kind::Flow => {
                let flows = self.flows.clone();
                drop(self.accepted_flow.send(IncomingFlow { asked, connection, flows }).await);
            }
        }
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(LARGE_DATAGRAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .max_idle_timeout(IDLE.try_into().ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .ack_frequency_config(Some(ack_frequency()))
        .congestion_controller_factory(Arc::new(NudgeableCubic::default()))
        .initial_rtt(Duration::from_millis(150))
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS);
    transport
}

fn config(identity: &Identity) -> EndpointConfig {
    // The reset key comes from the identity, so that a new process of the same peer can tell others that it knows nothing of
    // the old one's connections, and they do not wait out their idle timeout.
    let mac = Hmac::<Sha256>::new_from_slice(identity.key().as_bytes());
    let mut config = match mac {
        Ok(mac) => EndpointConfig::new(Arc::new(ResetKey(mac.chain_update(b"baton-e2e/1 reset")))),
        Err(_) => EndpointConfig::default(),
    };
    // The fixed bit tells these packets from the owner's datagrams. And a connection id that is not known is one of another
    // process: quinn's own generator would take it for nobody's, and say nothing.
    config.grease_quic_bit(false).cid_generator(|| Box::new(AnyId));
    config
}

/// Makes random connection ids, and takes any for its own.
#[derive(Debug)]
struct AnyId;

impl AnyId {
    const LENGTH: usize = 8;
}

impl ConnectionIdGenerator for AnyId {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; Self::LENGTH]>())
    }

    fn cid_len(&self) -> usize {
        Self::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes stateless reset tokens (RFC 9000 section 10.3.2).
struct ResetKey(Hmac<Sha256>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.0.clone().chain_update(data).finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0.clone().chain_update(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}
