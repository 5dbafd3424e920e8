//! First packets made by hand (RFC 9000 section 17.2.2, RFC 9001 section 5.2): a QUIC stack gives no more of them than it has
//! handshakes to make, and never forgets one.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::quic::{ClientConnection, Keys, Version};
use rustls::{RootCertStore, Side};

/// A first flight has this length at least.
pub(crate) const LENGTH: usize = 1200;

/// Of connection ids.
pub(crate) const ID: usize = 8;

/// The id that all of them have for themselves: so that one ClientHello, which says it too, is good for all.
const SOURCE: [u8; ID] = *b"attacker";

/// Bytes of a packet's number, and of what its header is protected by.
const NUMBER: usize = 4;
const SAMPLE: usize = 16;
const TAG: usize = 16;

/// Makes first packets.
pub(crate) struct Forge {
    client_hello: Vec<u8>,
}

impl Forge {
    pub(crate) fn new(server_name: &str) -> anyhow::Result<Self> {
        let provider = rustls::crypto::CryptoProvider {
            // The one with the shortest share: ClientHello fits one packet.
            kx_groups: vec![kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        tls.alpn_protocols = vec![baton_protocol::ALPN.to_vec()];
        let name = server_name.to_owned().try_into()?;
        let mut client = ClientConnection::new(Arc::new(tls), Version::V1, name, parameters())?;
        let mut client_hello = Vec::new();
        client.write_hs(&mut client_hello);
        Ok(Self { client_hello })
    }

    /// A whole first flight to the connection id `to`, with a Retry's token, if there is one. With `and_close`, it says right
    /// behind ClientHello that it is over.
    pub(crate) fn flight(
        &self,
        to: &[u8; ID],
        token: &[u8],
        and_close: bool,
    ) -> anyhow::Result<Vec<u8>> {
        let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().context("a suite of TLS 1.3")?;
        let quic = suite.quic.context("a suite for QUIC")?;
        let keys = Keys::initial(Version::V1, suite, quic, to, Side::Client);
        let mut crypto = vec![0x06, 0x00];
        put_length(&mut crypto, self.client_hello.len());
        crypto.extend(&self.client_hello);
        if !and_close {
            return packet(&keys, to, token, 0, crypto, LENGTH);
        }
        let mut flight = packet(&keys, to, token, 0, crypto, 0)?;
        let rest = LENGTH.saturating_sub(flight.len());
        // CONNECTION_CLOSE without an error, and without a reason (RFC 9000 section 19.19).
        flight.extend(packet(&keys, to, token, 1, vec![0x1c, 0x00, 0x00, 0x00], rest)?);
        Ok(flight)
    }
}

/// The one transport parameter that a client must send (RFC 9000 section 7.3).
fn parameters() -> Vec<u8> {
    let mut parameters = vec![0x0f, ID as u8];
    parameters.extend(SOURCE);
    parameters
}

/// One packet, padded to that length.
fn packet(
    keys: &Keys,
    to: &[u8; ID],
    token: &[u8],
    number: u8,
    mut payload: Vec<u8>,
    length: usize,
) -> anyhow::Result<Vec<u8>> {
    let mut packet = vec![0xc0 | (NUMBER as u8 - 1), 0, 0, 0, 1, ID as u8];
    packet.extend(to);
    packet.push(ID as u8);
    packet.extend(SOURCE);
    put_length(&mut packet, token.len());
    packet.extend(token);
    // PADDING is zeros. What is sampled lies behind the longest number.
    let padded = length.saturating_sub(packet.len() + 2 + NUMBER + TAG).max(SAMPLE);
    payload.resize(payload.len().max(padded), 0);
    put_length(&mut packet, NUMBER + payload.len() + TAG);
    let at = packet.len();
    packet.extend([0, 0, 0, number]);
    let tag = keys.local.packet.encrypt_in_place(u64::from(number), &packet, &mut payload)?;
    packet.extend(payload);
    packet.extend(tag.as_ref());
    let sample = packet[at + NUMBER..at + NUMBER + SAMPLE].to_vec();
    let (head, rest) = packet.split_at_mut(at);
    keys.local.header.encrypt_in_place(&sample, &mut head[0], &mut rest[..NUMBER])?;
    Ok(packet)
}

/// A varint of two bytes.
fn put_length(into: &mut Vec<u8>, length: usize) {
    into.extend((0x4000 | length as u16).to_be_bytes());
}

/// The token of a Retry (RFC 9000 section 17.2.5), if that is what it is.
pub(crate) fn retry_token(packet: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = packet.split_first()?;
    if first & 0xf0 != 0xf0 {
        return None;
    }
    let rest = rest.get(4..)?;
    let rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    let rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    Some(rest.get(..rest.len().checked_sub(TAG)?)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_has_its_length_and_a_token_is_found_in_a_retry() {
        let forge = Forge::new("edge.tests.baton.internal").unwrap();
        for and_close in [false, true] {
            for token in [&b""[..], b"a token"] {
                let flight = forge.flight(&[7; ID], token, and_close).unwrap();
                assert_eq!(flight.len(), LENGTH);
                assert_eq!(flight[0] & 0xf0, 0xc0);
            }
        }
        let retry = [&[0xff, 0, 0, 0, 1, 2, 9, 9, 1, 8][..], b"token", &[0; TAG]].concat();
        assert_eq!(retry_token(&retry), Some(b"token".to_vec()));
        assert_eq!(retry_token(&retry[1..]), None);
        assert_eq!(retry_token(&[0xf0, 0]), None);
    }
}
