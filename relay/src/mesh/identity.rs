//! How the relays of a pool know each other: all hold the same Ed25519 key, derived from the pool Secret.
//!
//! Both ends of a link show a certificate and sign the TLS handshake. What is in the certificate does not matter (two versions
//! of Baton may make different ones): the signature is verified with the pool's key, so whoever can make it holds the Secret.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::datagram::HANDED_OVER;
use baton_protocol::pkcs8;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, TokioRuntime, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};

use crate::keys::{PoolKeys, PoolSecret};
use crate::{socket, transport};

const ALPN: &[u8] = b"baton-mesh/1";

/// The name in the certificate, and the one that is dialed. Nobody looks at it.
const NAME: &str = "relay.baton.internal";

/// The size of packets between pods, from the first: a forwarded datagram must fit without discovery, and a pod network of 1,450
/// bytes carries this and more.
pub(super) const MTU: u16 = 1350;

/// A sibling that is not heard of for so long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The mesh's endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate cannot be made.
    #[error("the mesh's certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("the mesh's TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The crypto provider has no cipher suite that QUIC needs.
    #[error("the crypto provider lacks the cipher suite that QUIC starts with")]
    Suite(#[from] NoInitialCipherSuite),
    /// The socket cannot be had.
    #[error("the address {address} cannot be bound: choose another --mesh-listen")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The endpoint that both dials and is dialed.
pub(super) fn endpoint(listen: SocketAddr, keys: &PoolKeys) -> Result<Endpoint, IdentityError> {
    let verifier = Arc::new(Verifier::new(keys));
    let (certificate, key) = certificate(&keys.current)?;

    let mut server = rustls::ServerConfig::builder_with_provider(transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(vec![certificate.clone()], key.clone_key())?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed link would not prove again that its end holds the Secret.
    server.send_tls13_tickets = 0;
    let mut server =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(Arc::new(link_transport()));

    let mut client = rustls::ClientConfig::builder_with_provider(transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(Arc::new(link_transport()));

    let bind = |source| IdentityError::Bind { address: listen, source };
    let socket = socket::bind(listen).map_err(bind)?;
    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
            .map_err(bind)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// The name to dial.
pub(super) const fn server_name() -> &'static str {
    NAME
}

fn link_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .max_idle_timeout(Some(transport::idle(IDLE_TIMEOUT)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .datagram_send_buffer_size(HANDED_OVER)
        .datagram_receive_buffer_size(Some(4 * 1024 * 1024));
    transport
}

fn certificate(
    secret: &PoolSecret,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IdentityError> {
    let der = pkcs8::of_seed(&secret.mesh_seed());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec()));
    let pair = rcgen::KeyPair::try_from(&key)?;
    let certificate = rcgen::CertificateParams::new(vec![NAME.into()])?.self_signed(&pair)?;
    Ok((certificate.der().clone(), key))
}

/// Accepts who signs with a key of the pool.
#[derive(Debug)]
struct Verifier {
    keys: Vec<VerifyingKey>,
}

impl Verifier {
    fn new(keys: &PoolKeys) -> Self {
        let secrets = std::iter::once(&keys.current).chain(&keys.others);
        Self {
            keys: secrets
                .map(|secret| SigningKey::from_bytes(&secret.mesh_seed()).verifying_key())
                .collect(),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = || rustls::Error::from(rustls::CertificateError::BadSignature);
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(bad());
        }
        let signature = Signature::from_slice(signed.signature()).map_err(|_| bad())?;
        let valid = self.keys.iter().any(|key| key.verify_strict(message, &signature).is_ok());
        if valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
    }
}

const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ED25519];

fn tls12() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn link(dialer: &PoolKeys, dialed: &PoolKeys) -> bool {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (a, b) = (endpoint(any, dialer).unwrap(), endpoint(any, dialed).unwrap());
        let dialing = a.connect(b.local_addr().unwrap(), server_name()).unwrap();
        let accepted = async { b.accept().await.unwrap().accept().unwrap().await.is_ok() };
        // TLS 1.3: the dialer may believe in the link before the other end has judged it.
        let (_, accepted) = tokio::join!(dialing, accepted);
        accepted
    }

    #[tokio::test]
    async fn relays_of_one_pool_link_also_while_its_secret_is_exchanged() {
        let (old, new) = (PoolSecret::from_bytes([1; 32]), PoolSecret::from_bytes([2; 32]));
        assert!(link(&PoolKeys::one(old.clone()), &PoolKeys::one(old.clone())).await);
        let before = PoolKeys { current: old.clone(), others: vec![new.clone()] };
        let after = PoolKeys { current: new, others: vec![old] };
        assert!(link(&before, &after).await);
        assert!(link(&after, &before).await);
    }

    #[tokio::test]
    async fn a_relay_of_another_pool_is_nobody() {
        let one = PoolKeys::one(PoolSecret::from_bytes([1; 32]));
        let other = PoolKeys::one(PoolSecret::from_bytes([2; 32]));
        assert!(!link(&one, &other).await);
    }
}
