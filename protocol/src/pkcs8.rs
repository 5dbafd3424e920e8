//! Ed25519 keys in the form in which TLS takes them.

/// What comes before the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410 section 7).
const PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The private key with this seed, as PKCS #8 in DER.
#[must_use]
pub fn of_seed(seed: &[u8; 32]) -> [u8; 48] {
    let mut der = [0; 48];
    der[..PREFIX.len()].copy_from_slice(&PREFIX);
    der[PREFIX.len()..].copy_from_slice(seed);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_rfc_8410_section_10_3_comes_out_as_it_is_there() {
        let base64 = b"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
        let expected = data_encoding::BASE64.decode(base64).unwrap();
        let seed = expected[16..].try_into().unwrap();
        assert_eq!(of_seed(seed)[..], expected[..]);
    }
}
