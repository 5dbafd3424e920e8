//! The outer QUIC connections: settings, TLS, and one socket for each.
//!
//! What both ends set alike is in the protocol's crate, with its reasons; the figures were measured (docs/decisions/0004).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::ALPN;
use baton_protocol::datagram::HANDED_OVER;
use baton_protocol::detour;
use baton_protocol::frame::RouteId;
use baton_protocol::packet::{
    ACK_DELAY, AFTER_BLACK_HOLE, ASK_AGAIN, FULL_MTU, MIN_MTU, ONE_STEP, UNACKNOWLEDGED,
};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AckFrequencyConfig, ConnectionId, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    TransportConfig, VarInt,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;

use crate::options::Options;
use crate::profile::Profile;

/// What the round trip is taken for until it is known: a lost first packet is repeated after three times that.
const INITIAL_RTT: Duration = Duration::from_millis(150);

/// Whatever the connection before says: another relay may be a little farther away, and half a second is far.
const RTTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What a connection lets under way from the start, in bytes: at least what any does (RFC 9002 section 7.2), and at most this.
/// Relays go by the same bound.
const WINDOWS: (u64, u64) = (14_720, 256 * 1024);

/// What a round trip is taken for, where a connection to the same pool had this one.
fn expected_rtt(rtt: Duration) -> Duration {
    (rtt * 3 / 2).clamp(RTTS.0, RTTS.1)
}

/// TLS that cannot be set up with this profile.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate of the profile's CA is none.
    #[error("the profile's 'ca' has a certificate that cannot be used: {0}")]
    Ca(#[source] rustls::Error),
    /// The cryptography that was built in lacks something.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The one provider of cryptography of this crate, given explicitly, so that a process may have another.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// What every outer connection is made with.
#[derive(Clone)]
pub(crate) struct Outer {
    crypto: Arc<QuicClientConfig>,
    options: Options,
    sockets: Sockets,
}

/// What the connection before knows of the way to the pool, so that the next one need not find it out anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hints {
    /// The round trip.
    pub(crate) rtt: Duration,
    /// Bytes that it let under way at a time.
    pub(crate) window: u64,
    /// Bytes of the longest datagram.
    pub(crate) datagram: usize,
}

impl Hints {
    /// Of a connection as it is.
    pub(crate) fn of(connection: &quinn::Connection) -> Self {
        Self {
            rtt: connection.rtt(),
            window: connection.congestion_state().window(),
            datagram: connection.max_datagram_size().unwrap_or(0),
        }
    }
}

impl std::fmt::Debug for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outer")
    }
}

impl Outer {
    pub(crate) fn new(
        profile: &Profile,
        sockets: Sockets,
        options: &Options,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in &profile.ca {
            roots.add(certificate.clone()).map_err(TlsError::Ca)?;
        }
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto =
            QuicClientConfig::try_from(tls).map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self { crypto: Arc::new(crypto), options: options.clone(), sockets })
    }

    /// The settings for one connection, whose first packets go where `route` says, if anywhere.
    pub(crate) fn client_config(
        &self,
        route: Option<RouteId>,
        hints: Option<Hints>,
    ) -> quinn::ClientConfig {
        let mut config = quinn::ClientConfig::new(self.crypto.clone());
        config.transport_config(Arc::new(transport(&self.options, hints)));
        if let Some(route) = route {
            config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&route)));
        }
        config
    }
}

fn transport(options: &Options, hints: Option<Hints>) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(detour::TAKEN_BY_CLIENT.into())
        .max_idle_timeout(options.idle.try_into().ok())
        .keep_alive_interval(Some(options.keep_alive))
        .initial_mtu(MIN_MTU)
        .min_mtu(MIN_MTU)
        .mtu_discovery_config(Some(mtu_discovery(options.clamped_mtu())))
        .ack_frequency_config(Some(ack_frequency()))
        .datagram_send_buffer_size(HANDED_OVER)
        .initial_rtt(hints.map_or(INITIAL_RTT, |hints| expected_rtt(hints.rtt)));
    if let Some(hints) = hints {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(hints.window.clamp(WINDOWS.0, WINDOWS.1));
        transport.congestion_controller_factory(Arc::new(cubic));
    }
    transport
}

/// How often the other end acknowledges, if it knows how to be told.
pub(crate) fn ack_frequency() -> AckFrequencyConfig {
    let mut frequency = AckFrequencyConfig::default();
    frequency.ack_eliciting_threshold(UNACKNOWLEDGED.into()).max_ack_delay(Some(ACK_DELAY));
    frequency
}

/// Up to this size: by default in one step, beyond it in several.
fn mtu_discovery(largest: u16) -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest).interval(ASK_AGAIN).black_hole_cooldown(AFTER_BLACK_HOLE);
    if largest == FULL_MTU {
        discovery.minimum_change(ONE_STEP);
    }
    discovery
}

/// Makes the UDP socket of a connection to this address.
pub type MakeSocket = dyn Fn(SocketAddr) -> std::io::Result<UdpSocket> + Send + Sync;

/// How a client makes its sockets.
#[derive(Clone)]
pub struct Sockets {
    make: Arc<MakeSocket>,
    followed: bool,
}

impl Sockets {
    /// By this function. It is called for each connection; a socket of an earlier one must not come back, because another port
    /// is another flow, which a balancer may take to another relay.
    pub fn new(
        make: impl Fn(SocketAddr) -> std::io::Result<UdpSocket> + Send + Sync + 'static,
    ) -> Self {
        Self { make: Arc::new(make), followed: false }
    }

    /// The client makes one now and then to see which local address it gets for the relay, and migrates when that is another one.
    /// So it is by default; who makes sockets otherwise may know better when to migrate
    /// ([`PathManager`](crate::PathManager)).
    #[must_use]
    pub fn followed(self) -> Self {
        Self { followed: true, ..self }
    }

    pub(crate) fn are_followed(&self) -> bool {
        self.followed
    }

    /// A socket for packets to this address.
    pub(crate) fn make(&self, to: SocketAddr) -> std::io::Result<UdpSocket> {
        (self.make)(to)
    }
}

impl Default for Sockets {
    /// On any local address: the kernel chooses for each packet from which it leaves, and takes a session along when it routes
    /// otherwise. Who wants a session to stay until another path was tried binds sockets to addresses.
    fn default() -> Self {
        let sockets = Self::new(|to| {
            let local: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            UdpSocket::bind(local)
        });
        sockets.followed()
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sockets")
    }
}

impl Outer {
    /// An endpoint with a socket of its own for one connection, and a second handle of the socket.
    pub(crate) fn endpoint(&self, to: SocketAddr) -> std::io::Result<(Endpoint, UdpSocket)> {
        let socket = self.sockets.make(to)?;
        let kept = socket.try_clone()?;
        let mut config = EndpointConfig::default();
        // The fixed bit tells QUIC packets from everything else that shares a relay's socket.
        config.grease_quic_bit(false);
        let runtime = quinn::default_runtime()
            .ok_or_else(|| std::io::Error::other("there is no async runtime"))?;
        Ok((Endpoint::new(config, None, socket, runtime)?, kept))
    }

    /// How sockets are made.
    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }
}
