//! How the relay uses QUIC. The figures behind the settings were measured; see docs/decisions/0004.

use std::sync::Arc;
use std::time::Duration;

use baton_protocol::datagram::HANDED_OVER;
use baton_protocol::liveness::IDLE_TIMEOUT;
use baton_protocol::packet::{
    ACK_DELAY, AFTER_BLACK_HOLE, ASK_AGAIN, FULL_MTU, MIN_MTU, ONE_STEP, UNACKNOWLEDGED,
};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::congestion::HintedCubic;
use crate::egress::Guard;

/// From a client's first packet to the end of its handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Receive buffer for datagrams of one client, in bytes.
const DATAGRAM_RECEIVE_BUFFER: usize = 256 * 1024;

/// What a client may send on its control stream before it is read. The longest frame has 16 KiB. Whoever has not said HELLO
/// yet costs as much as whoever has: so these three bound what strangers can make a relay hold.
const STREAM_WINDOW: u32 = 32 * 1024;

/// The same, of its whole connection: room for what is read, but not yet credited.
const RECEIVE_WINDOW: u32 = 64 * 1024;

/// What waits on streams for a client, sent or not: 32 datagrams that do not fit its path, and control frames beside them. A
/// client that takes nothing costs so much until it is closed.
const SEND_WINDOW: u64 = 48 * 1024;

/// First packets that nobody has looked at yet, at a time; quinn turns more away by itself. It would keep 65,536.
const MAX_INCOMING: usize = 4096;

/// What may come behind one of them, in bytes: the rest of a client's first flight.
const INCOMING_BUFFER: u64 = 32 * 1024;

/// And behind all.
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

/// What quinn holds for a client by default, where nobody has thought about it.
const UNGUARDED: usize = 1024 * 1024;

/// The transport of connections with clients. Only the control stream is ever opened.
#[must_use]
pub fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(idle(IDLE_TIMEOUT)))
        .initial_mtu(MIN_MTU)
        .min_mtu(MIN_MTU)
        .mtu_discovery_config(Some(mtu_discovery()))
        .ack_frequency_config(Some(ack_frequency()))
        .datagram_send_buffer_size(HANDED_OVER)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER));
    transport
}

fn ack_frequency() -> AckFrequencyConfig {
    let mut frequency = AckFrequencyConfig::default();
    frequency.ack_eliciting_threshold(UNACKNOWLEDGED.into()).max_ack_delay(Some(ACK_DELAY));
    frequency
}

/// Path MTU discovery: whether the path carries packets of [`FULL_MTU`].
fn mtu_discovery() -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery
        .upper_bound(FULL_MTU)
        .minimum_change(ONE_STEP)
        .interval(ASK_AGAIN)
        .black_hole_cooldown(AFTER_BLACK_HOLE);
    discovery
}

/// An idle timeout in QUIC's form.
pub(crate) fn idle(timeout: Duration) -> IdleTimeout {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    IdleTimeout::from(VarInt::from_u32(milliseconds))
}

/// The endpoint's own settings. The fixed bit is never greased: a packet must look like one of QUIC to whoever steers it.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut endpoint = EndpointConfig::default();
    endpoint.grease_quic_bit(false);
    endpoint
}

/// A server's TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificate and key are wrong, or do not belong together.
    #[error("certificate and key cannot be used together")]
    Certificate(#[from] rustls::Error),
    /// The crypto provider has no cipher suite that QUIC needs.
    #[error("the crypto provider lacks the cipher suite that QUIC starts with")]
    Suite(#[from] NoInitialCipherSuite),
}

/// The configuration of the public endpoint.
pub(crate) fn server(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    guard: Guard,
    idle_timeout: Duration,
) -> Result<quinn::ServerConfig, TlsError> {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
    // Every attachment is signed anew, so there is nothing to win by resumption, and 0-RTT is never allowed.
    tls.send_tls13_tickets = 0;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = transport();
    transport
        .max_idle_timeout(Some(idle(idle_timeout)))
        .congestion_controller_factory(Arc::new(HintedCubic::default()));
    if guard == Guard::Off {
        transport.datagram_send_buffer_size(UNGUARDED);
    }
    server
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS)
        .transport_config(Arc::new(transport));
    Ok(server)
}

/// The one crypto provider. Of the cipher suites it has those with keys of 128 bits, which every end of TLS 1.3 knows
/// (RFC 8446 section 9.1), and ChaCha20 for whoever prefers it: a relay sees ciphertext only, so that what AES-256 would cost
/// here for each packet, and SHA-384 for each handshake, would buy nobody anything.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let cipher_suites =
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connected::connected;

    #[tokio::test]
    async fn one_packet_shows_that_the_path_carries_the_longest_datagram() {
        let (connection, client, _ends) = connected().await;
        let wide = async {
            while connection.stats().path.current_mtu == MIN_MTU {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wide).await.unwrap();
        // What comes back after that would have been followed by the next one, if there were any.
        for number in 0..20_u8 {
            connection.send_datagram(vec![number].into()).unwrap();
            assert_eq!(client.read_datagram().await.unwrap()[0], number);
            client.send_datagram(vec![number].into()).unwrap();
            assert_eq!(connection.read_datagram().await.unwrap()[0], number);
        }
        let path = connection.stats().path;
        assert_eq!((path.current_mtu, path.sent_plpmtud_probes), (FULL_MTU, 1));
        assert!(connection.max_datagram_size().unwrap() >= baton_protocol::detour::LONGEST);
    }
}
