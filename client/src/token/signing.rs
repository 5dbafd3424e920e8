//! What tokens are made with.

use baton_protocol::token::{ShortSecret, secret_of};
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

/// The object identifiers by which PKCS #8 says what a key is: Ed25519 (RFC 8410), and the curve P-256 (RFC 5480).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A shared secret, or a private key.
pub struct SigningKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl std::fmt::Debug for SigningKey {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A file in which there is no private key that tokens can be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no private key of Ed25519 or P-256 in it (PKCS #8 in PEM): make one with `openssl genpkey -algorithm ed25519`"
)]
pub struct NoSigningKey;

impl SigningKey {
    /// The shared secret in a file with this content, for HS256.
    pub fn secret(content: &[u8]) -> Result<Self, ShortSecret> {
        let key = EncodingKey::from_secret(secret_of(content)?);
        Ok(Self { algorithm: Algorithm::HS256, key })
    }

    /// The private key in a PEM file with this content: EdDSA or ES256, as it is.
    pub fn pem(content: &[u8]) -> Result<Self, NoSigningKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(content).map_err(|_| NoSigningKey)?;
        let der = der.secret_pkcs8_der();
        // What kind of key it is stands before the key.
        let head = &der[..der.len().min(32)];
        let is = |kind: &[u8]| head.windows(kind.len()).any(|window| window == kind);
        let (algorithm, key) = match (is(ED25519), is(P256)) {
            (true, _) => (Algorithm::EdDSA, EncodingKey::from_ed_der(der)),
            (_, true) => (Algorithm::ES256, EncodingKey::from_ec_der(der)),
            _ => return Err(NoSigningKey),
        };
        Ok(Self { algorithm, key })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_protocol::token::{TokenKey, verify};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::super::{Grant, issue_with};
    use super::*;

    #[test]
    fn what_a_private_key_makes_its_public_key_verifies() {
        let grant =
            Grant { pool: "ns/edge".into(), peer: None, group: None, lifetime: Duration::ZERO };
        for (kind, algorithm) in
            [(&PKCS_ED25519, Algorithm::EdDSA), (&PKCS_ECDSA_P256_SHA256, Algorithm::ES256)]
        {
            let pair = KeyPair::generate_for(kind).unwrap();
            let key = SigningKey::pem(pair.serialize_pem().as_bytes()).unwrap();
            assert_eq!(key.algorithm, algorithm);
            let token = issue_with(&grant, &key, 1000).unwrap();
            let public = TokenKey::read("issuer.pem", pair.public_key_pem().as_bytes()).unwrap();
            assert_eq!(verify(token.as_bytes(), &public).unwrap().expires_unix, 1000);
            let shown = format!("{key:?}");
            assert!(shown.len() < 60, "{shown}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        for content in ["", "secret", &other.public_key_pem(), &other.serialize_pem()] {
            assert_eq!(SigningKey::pem(content.as_bytes()).unwrap_err(), NoSigningKey);
        }
    }
}
