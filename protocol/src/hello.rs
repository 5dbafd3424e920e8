//! What a client signs in HELLO, and how a relay verifies it.
//!
//! The signature covers an exporter of the TLS connection (RFC 8446 section 7.5) whose context is the hash of the rest of
//! HELLO. So it proves that whoever speaks on *this* connection holds the key, and that no field was changed; a HELLO that
//! someone recorded is worth nothing on another connection.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::frame::Hello;
use crate::id::PeerId;

/// The label of the TLS exporter.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-baton-hello";

/// The length of what is exported.
pub const EXPORTER_LENGTH: usize = 32;

const DOMAIN: &[u8] = b"baton/1 hello\0";

/// The context to give to the TLS exporter for this HELLO.
#[must_use]
pub fn exporter_context(hello: &Hello) -> [u8; 32] {
    Sha256::digest(hello.unsigned()).into()
}

/// The bytes that are signed.
#[must_use]
pub fn signature_input(exported: &[u8; EXPORTER_LENGTH]) -> Vec<u8> {
    [DOMAIN, exported].concat()
}

/// Signs `hello` for the connection that gave `exported`.
pub fn sign(hello: &mut Hello, key: &SigningKey, exported: &[u8; EXPORTER_LENGTH]) {
    hello.signature = key.sign(&signature_input(exported)).to_bytes();
}

/// The signature is not that of the peer, over this HELLO, on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not that of the peer over this HELLO on this connection")]
pub struct BadSignature;

/// Verifies the signature strictly: no malleable signatures and no keys of small order.
pub fn verify(hello: &Hello, exported: &[u8; EXPORTER_LENGTH]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(hello.peer.as_bytes()).map_err(|_| BadSignature)?;
    let signature = Signature::from_bytes(&hello.signature);
    key.verify_strict(&signature_input(exported), &signature).map_err(|_| BadSignature)
}

/// The peer that holds this key.
#[must_use]
pub fn peer_of(key: &SigningKey) -> PeerId {
    PeerId::from_bytes(key.verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::frame::Intent;
    use crate::id::Instance;

    fn signed(exported: &[u8; 32]) -> Hello {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut hello = Hello {
            intent: Intent::Fresh,
            peer: peer_of(&key),
            instance: Instance::from_bytes([2; 16]),
            capabilities: 0,
            token: Bytes::from_static(b"token"),
            ticket: Bytes::new(),
            signature: [0; 64],
        };
        sign(&mut hello, &key, exported);
        hello
    }

    #[test]
    fn the_signature_of_the_peer_is_accepted() {
        assert_eq!(verify(&signed(&[3; 32]), &[3; 32]), Ok(()));
    }

    #[test]
    fn a_hello_of_another_connection_is_refused() {
        assert_eq!(verify(&signed(&[3; 32]), &[4; 32]), Err(BadSignature));
    }

    #[test]
    fn another_key_is_refused() {
        let mut hello = signed(&[3; 32]);
        hello.peer = peer_of(&SigningKey::from_bytes(&[9; 32]));
        assert_eq!(verify(&hello, &[3; 32]), Err(BadSignature));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut hello = signed(&[3; 32]);
        let mut identity = [0; 32];
        identity[0] = 1;
        hello.peer = PeerId::from_bytes(identity);
        hello.signature = [0; 64];
        hello.signature[0] = 1;
        assert_eq!(verify(&hello, &[3; 32]), Err(BadSignature));
    }

    #[test]
    fn every_field_changes_the_context() {
        let hello = signed(&[0; 32]);
        let context = exporter_context(&hello);
        let changes: [fn(&mut Hello); 6] = [
            |hello| hello.intent = Intent::Resume,
            |hello| hello.peer = PeerId::from_bytes([0; 32]),
            |hello| hello.instance = Instance::from_bytes([0; 16]),
            |hello| hello.capabilities = 1,
            |hello| hello.token = Bytes::from_static(b"other"),
            |hello| hello.ticket = Bytes::from_static(b"other"),
        ];
        for change in changes {
            let mut changed = hello.clone();
            change(&mut changed);
            assert_ne!(exporter_context(&changed), context);
        }
    }
}
