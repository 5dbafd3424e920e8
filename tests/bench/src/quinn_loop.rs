//! What a relay would cost if it were nothing but quinn: connections in pairs, each datagram of one sent on to the other.
//! quinn's settings are its defaults; the runtime has one thread, as the relay's has.
//!
//! A client opens a stream and names its pair in eight bytes, which is answered with one byte.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The pair of those that have none.
pub(crate) const ALONE: u64 = u64::MAX;

type Pair = Arc<[OnceLock<Connection>; 2]>;

/// Serves until it is killed, with the certificate of this folder. Says where it listens.
#[expect(clippy::print_stdout, reason = "the one who started it reads it")]
pub(crate) async fn run(tls: &Path) -> anyhow::Result<()> {
    let endpoint = Endpoint::server(server(tls)?, "127.0.0.1:0".parse()?)?;
    println!("{}", endpoint.local_addr()?);
    let pairs = Arc::new(Mutex::default());
    while let Some(incoming) = endpoint.accept().await {
        // Nobody waits for these tasks: the process is killed when it has served.
        tokio::spawn(serve(incoming, pairs.clone()));
    }
    Ok(())
}

/// quinn's server as it is, but for certificate and ALPN.
pub(crate) fn server(tls: &Path) -> anyhow::Result<quinn::ServerConfig> {
    let certificate = CertificateDer::from_pem_file(tls.join("tls.crt")).context("tls.crt")?;
    let key = PrivateKeyDer::from_pem_file(tls.join("tls.key")).context("tls.key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
    Ok(quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
}

async fn serve(incoming: Incoming, pairs: Arc<Mutex<HashMap<u64, Pair>>>) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let mut number = [0; 8];
    receive.read_exact(&mut number).await.ok()?;
    let number = u64::from_be_bytes(number);
    let pair = match number {
        ALONE => Pair::default(),
        number => {
            pairs.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default().clone()
        }
    };
    let side = usize::from(pair[0].set(connection.clone()).is_err());
    if side == 1 {
        // A third one of a pair has nobody.
        let _ = pair[1].set(connection.clone());
    }
    send.write_all(&[0]).await.ok()?;
    while let Ok(datagram) = connection.read_datagram().await {
        if let Some(partner) = pair[1 - side].get() {
            let _ = partner.send_datagram(datagram);
        }
    }
    Some(())
}
