//! What an attacker knows of its target, and what it stands on: sockets, keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use baton_protocol::id::PeerId;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

/// Every run draws the same keys.
const SEED: u64 = 0x0ba7_0ab0;

/// A connection that says nothing stays, as those of clients do. One whose end the relay does not hear of is soon forgotten.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

/// The relay hears in that time that its attacker has gone.
const FAREWELL: Duration = Duration::from_secs(3);

/// What it is told.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    pub(crate) relay: SocketAddr,
    pub(crate) server_name: String,
    pub(crate) pool: String,
    /// The relay's certificate, as PEM.
    pub(crate) ca: String,
    /// Access tokens, by what they are.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, String>,
    /// Peers of others, who are there.
    #[serde(default)]
    pub(crate) peers: Vec<PeerText>,
    /// Bytes that somebody else sent to the relay, as hexadecimal digits.
    #[serde(default)]
    pub(crate) overheard: String,
}

/// A peer id, as text.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PeerText(pub(crate) PeerId);

impl TryFrom<String> for PeerText {
    type Error = baton_protocol::id::InvalidPeerId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Field(Arc<Inner>);

struct Inner {
    told: Told,
    crypto: Arc<QuicClientConfig>,
    random: Mutex<StdRng>,
    endpoints: Mutex<Vec<Endpoint>>,
}

impl Field {
    pub(crate) fn new(told: Told) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(told.ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
        Ok(Self(Arc::new(Inner {
            told,
            crypto: Arc::new(QuicClientConfig::try_from(tls)?),
            random: Mutex::new(StdRng::seed_from_u64(SEED)),
            endpoints: Mutex::default(),
        })))
    }

    pub(crate) fn told(&self) -> &Told {
        &self.0.told
    }

    /// The access token that is called so.
    pub(crate) fn token(&self, name: &str) -> anyhow::Result<Bytes> {
        let token = self.told().tokens.get(name);
        let token = token.with_context(|| format!("no token '{name}' was given"))?;
        Ok(token.clone().into())
    }

    /// A key that nobody else has.
    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.random())
    }

    /// Bytes that are drawn for the first time.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// How connections are made, with this transport.
    pub(crate) fn config_with(&self, transport: TransportConfig) -> ClientConfig {
        let mut config = ClientConfig::new(self.0.crypto.clone());
        config.transport_config(Arc::new(transport));
        config
    }

    /// How connections are made.
    pub(crate) fn config(&self) -> ClientConfig {
        self.config_with(transport())
    }

    /// A socket of its own.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(self.remember(Endpoint::client(local())?))
    }

    /// On this socket.
    pub(crate) fn endpoint_on(&self, socket: Arc<dyn AsyncUdpSocket>) -> anyhow::Result<Endpoint> {
        let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
        Ok(self.remember(Endpoint::new_with_abstract_socket(config, None, socket, runtime)?))
    }

    fn remember(&self, endpoint: Endpoint) -> Endpoint {
        let mut endpoints = self.0.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.push(endpoint.clone());
        endpoint
    }

    /// Closes whatever there is, so that the relay knows.
    pub(crate) async fn leave(&self) {
        let endpoints = self.0.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        endpoints.iter().for_each(|endpoint| endpoint.close(0_u32.into(), b"done"));
        let all = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

/// The transport of ordinary clients.
pub(crate) fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE)).max_idle_timeout(IDLE.try_into().ok());
    transport
}

/// Any port of this machine.
pub(crate) fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
