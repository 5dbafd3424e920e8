//! For tests: connections to an end of this process.

use std::sync::Arc;

use baton_protocol::liveness::IDLE_TIMEOUT;
use quinn::{Connection, Endpoint};

use crate::egress::Guard;

/// The relay's end, the client's, and what must live as long.
pub(crate) async fn connected() -> (Connection, Connection, [Endpoint; 2]) {
    let (near, far) = ends();
    let connecting = near.connect(far.local_addr().unwrap(), "relay").unwrap();
    let accepting = async { far.accept().await.unwrap().await.unwrap() };
    let (client, connection) = tokio::join!(connecting, accepting);
    (connection, client.unwrap(), [near, far])
}

/// A client's end, and a relay's, which is called `relay`.
pub(crate) fn ends() -> (Endpoint, Endpoint) {
    let made = rcgen::generate_simple_self_signed(vec!["relay".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let server =
        crate::transport::server(vec![certificate.clone()], key.into(), Guard::On, IDLE_TIMEOUT)
            .unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let far = Endpoint::server(server, any).unwrap();
    let mut near = Endpoint::client(any).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(crate::transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    near.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    (near, far)
}
