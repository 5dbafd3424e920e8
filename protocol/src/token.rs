//! What makers and judges of access tokens must agree on (docs/protocol.md section 7): JWTs, the keys that verify them, and
//! what their claims mean.

#[cfg(feature = "jwt")]
mod judge;
#[cfg(feature = "jwt")]
mod key;

#[cfg(feature = "jwt")]
pub use judge::{Claims, LEEWAY_SECONDS, TokenFault, verify};
#[cfg(feature = "jwt")]
pub use key::{KeyError, TokenKey};

/// The shortest shared secret, in bytes: as many as the hash of HS256 has (RFC 7518 section 3.2).
pub const MIN_SECRET: usize = 32;

/// A secret that is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{length} bytes, and must have {MIN_SECRET} or more: make one with `head -c 32 /dev/urandom | base64`"
)]
pub struct ShortSecret {
    /// What it has.
    pub length: usize,
}

/// The shared secret in a file with this content: white space at its end, such as a line's end, does not count.
pub fn secret_of(content: &[u8]) -> Result<&[u8], ShortSecret> {
    let secret = content.trim_ascii_end();
    match secret.len() {
        length if length < MIN_SECRET => Err(ShortSecret { length }),
        _ => Ok(secret),
    }
}

/// Whether it names a pool, `<namespace>/<pool>`: the audience of its access tokens.
#[must_use]
pub fn is_audience(text: &str) -> bool {
    text.split_once('/').is_some_and(|(namespace, pool)| {
        !namespace.is_empty() && !pool.is_empty() && !pool.contains('/')
    })
}

#[cfg(feature = "jwt")]
#[cfg(test)]
mod jwt_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_32_bytes_without_its_line_end() {
        let secret = b"0123456789abcdef0123456789abcdef";
        assert_eq!(secret_of(secret), Ok(&secret[..]));
        assert_eq!(secret_of(&[&secret[..], b"\r\n"].concat()), Ok(&secret[..]));
        assert_eq!(secret_of(&[&secret[1..], b"\n"].concat()), Err(ShortSecret { length: 31 }));
    }

    #[test]
    fn a_pool_is_named_by_a_namespace_and_a_name() {
        assert!(is_audience("ns/edge"));
        for text in ["", "edge", "/edge", "ns/", "/", "a/b/c", "a//b"] {
            assert!(!is_audience(text), "{text}");
        }
    }
}
