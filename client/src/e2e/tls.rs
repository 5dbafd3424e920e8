//! TLS between peers: both sides show a certificate that they signed themselves with the key that is their PeerId.
//!
//! Nothing in the certificate matters but that key. Who connects knows whom it expects; who is connected to is told by the
//! handshake who holds the key, and compares that with the peer that the packets come from.

use std::sync::Arc;

use baton_protocol::ALPN_END_TO_END;
use baton_protocol::id::PeerId;
use baton_protocol::pkcs8;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::SetupError;
use crate::identity::Identity;
use crate::transport::provider;

/// The name in SNI and in certificates, where something must stand.
pub(crate) const NAME: &str = "peer.baton.invalid";

/// What comes before the 32 bytes of an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410 section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// TLS of one peer towards all others.
#[derive(Debug)]
pub(crate) struct PeerTls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl PeerTls {
    pub(crate) fn new(identity: &Identity) -> Result<Self, SetupError> {
        let failed = |error: rcgen::Error| SetupError::Certificate(error.to_string());
        let key = PrivatePkcs8KeyDer::from(pkcs8::of_seed(identity.key().as_bytes()).to_vec());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519)
            .map_err(failed)?;
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&pair).map_err(failed)?;
        let mut provider = provider();
        // What is said today stays secret when its recording is attacked by a quantum computer.
        let groups = [aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        provider.kx_groups = groups.to_vec();
        Ok(Self { chain: vec![certificate.der().clone()], key, provider: Arc::new(provider) })
    }

    /// For connections to `peer` and nobody else.
    pub(crate) fn towards(&self, peer: PeerId) -> Result<QuicClientConfig, SetupError> {
        let mut tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PeerVerifier::new(
                Some(peer),
                &self.provider,
            )))
            .with_client_auth_cert(self.chain.clone(), self.key())?;
        tls.alpn_protocols = vec![ALPN_END_TO_END.to_vec()];
        // A session that is resumed shows no certificate again; peers meet rarely enough to do it whole each time.
        tls.resumption = rustls::client::Resumption::disabled();
        QuicClientConfig::try_from(tls).map_err(|error| SetupError::Certificate(error.to_string()))
    }

    /// For connections from others.
    pub(crate) fn for_others(&self) -> Result<QuicServerConfig, SetupError> {
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(PeerVerifier::new(None, &self.provider)))
            .with_single_cert(self.chain.clone(), self.key())?;
        tls.alpn_protocols = vec![ALPN_END_TO_END.to_vec()];
        tls.send_tls13_tickets = 0;
        QuicServerConfig::try_from(tls).map_err(|error| SetupError::Certificate(error.to_string()))
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// Who is at the other end of a connection, by its handshake.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<PeerId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_of_certificate(chain.first()?).ok()
}

fn peer_of_certificate(certificate: &CertificateDer<'_>) -> Result<PeerId, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let spki = parsed.subject_public_key_info();
    let key = spki.strip_prefix(&SPKI).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(PeerId::from_bytes).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Accepts certificates of Ed25519 keys: of one peer, or of any. The handshake's signature proves who holds the key.
#[derive(Debug)]
struct PeerVerifier {
    expected: Option<PeerId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(expected: Option<PeerId>, provider: &rustls::crypto::CryptoProvider) -> Self {
        Self { expected, algorithms: provider.signature_verification_algorithms }
    }

    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let peer = peer_of_certificate(certificate)?;
        match self.expected {
            Some(expected) if expected != peer => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(()),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// TLS 1.2 is never negotiated: QUIC has none.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken".to_owned()))
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_the_peer_by_its_key() {
        let identity = Identity::from_seed([7; 32]);
        let tls = PeerTls::new(&identity).unwrap();
        assert_eq!(peer_of_certificate(&tls.chain[0]).unwrap(), identity.peer());
        let verifier = |expected| PeerVerifier::new(expected, &tls.provider).judge(&tls.chain[0]);
        assert!(verifier(Some(identity.peer())).is_ok());
        assert!(verifier(Some(PeerId::from_bytes([1; 32]))).is_err());
        assert!(verifier(None).is_ok());
    }

    #[test]
    fn a_certificate_of_another_kind_of_key_names_nobody() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![NAME.into()]).unwrap().self_signed(&pair).unwrap();
        assert!(peer_of_certificate(certificate.der()).is_err());
        assert!(peer_of_certificate(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
