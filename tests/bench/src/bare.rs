//! Clients that are quinn and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use baton_protocol::packet::{ACK_DELAY, FULL_MTU, ONE_STEP, UNACKNOWLEDGED};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AckFrequencyConfig, Connection, Endpoint, MtuDiscoveryConfig, TransportConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::subject::{Ground, SERVER_NAME};

/// As Baton's clients do it: or idle connections would end.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// A socket of its own for each peer, as peers have it.
pub(crate) fn endpoint() -> std::io::Result<Endpoint> {
    Endpoint::client(([127, 0, 0, 1], 0).into())
}

/// quinn's defaults, but for trust, ALPN and keep-alive.
pub(crate) fn config(ground: &Ground) -> anyhow::Result<quinn::ClientConfig> {
    with(ground, TransportConfig::default())
}

/// The same, for sessions with a relay of Baton's: what they send is acknowledged as seldom as Baton's clients ask for, and larger
/// packets are tried in one step, as theirs are.
pub(crate) fn session_config(ground: &Ground) -> anyhow::Result<quinn::ClientConfig> {
    let mut acknowledged = AckFrequencyConfig::default();
    acknowledged.ack_eliciting_threshold(UNACKNOWLEDGED.into()).max_ack_delay(Some(ACK_DELAY));
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(FULL_MTU).minimum_change(ONE_STEP);
    transport.ack_frequency_config(Some(acknowledged)).mtu_discovery_config(Some(discovery));
    with(ground, transport)
}

fn with(ground: &Ground, mut transport: TransportConfig) -> anyhow::Result<quinn::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ground.certificate_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Connects to a bare loop, as one of this pair.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    relay: SocketAddr,
    config: &quinn::ClientConfig,
    pair: u64,
) -> anyhow::Result<Connection> {
    let connection = endpoint.connect_with(config.clone(), relay, SERVER_NAME)?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&pair.to_be_bytes()).await?;
    let mut answer = [0];
    receive.read_exact(&mut answer).await.context("the loop does not answer")?;
    Ok(connection)
}
