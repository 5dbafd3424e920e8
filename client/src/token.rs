//! Access tokens: what lets a peer into a pool. JWTs, made with a secret that the pool's relays have too, or with
//! a private key of whose public half they know.

mod inspect;
mod signing;

use std::time::Duration;

use baton_protocol::id::PeerId;
use baton_protocol::token::{ShortSecret, is_audience};
use jsonwebtoken::Header;
use serde::Serialize;

pub use crate::unverified::now_unix;
pub use baton_protocol::token::{KeyError, TokenKey};
pub use inspect::{Inspection, NoToken, inspect};
pub use signing::{NoSigningKey, SigningKey};

/// The longest name of a group, in bytes, as relays take it.
const MAX_GROUP: usize = baton_protocol::ticket::MAX_GROUP;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// `<namespace>/<pool>`.
    pub pool: String,
    /// Who may use it; none means whoever holds it, with any key.
    pub peer: Option<PeerId>,
    /// Whom its bearer may reach and be reached by.
    pub group: Option<String>,
    /// For how long.
    pub lifetime: Duration,
}

/// A token that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The secret is no secret.
    #[error("the secret has {0}")]
    ShortSecret(#[from] ShortSecret),
    /// No pool is called so.
    #[error("'{0}' is no pool: that is <namespace>/<name>")]
    Pool(String),
    /// No relay takes it.
    #[error("the group has {0} bytes, and may have {MAX_GROUP}")]
    Group(usize),
    /// The JWT cannot be written.
    #[error("the token cannot be made: {0}")]
    Jwt(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grp: Option<&'a str>,
}

/// Makes a token at `now_unix` (seconds after the Unix epoch). The secret is that of a file: its line end does not count.
pub fn issue(grant: &Grant, secret: &[u8], now_unix: u64) -> Result<String, TokenError> {
    issue_with(grant, &SigningKey::secret(secret)?, now_unix)
}

/// Makes a token with any key.
pub fn issue_with(grant: &Grant, key: &SigningKey, now_unix: u64) -> Result<String, TokenError> {
    if !is_audience(&grant.pool) {
        return Err(TokenError::Pool(grant.pool.clone()));
    }
    if let Some(group) = grant.group.as_ref().filter(|group| group.len() > MAX_GROUP) {
        return Err(TokenError::Group(group.len()));
    }
    let claims = Claims {
        aud: &grant.pool,
        exp: now_unix.saturating_add(grant.lifetime.as_secs()),
        iat: now_unix,
        sub: grant.peer.map(|peer| peer.to_string()),
        grp: grant.group.as_deref(),
    };
    Ok(jsonwebtoken::encode(&Header::new(key.algorithm), &claims, &key.key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            pool: "ns/edge".into(),
            peer: Some(PeerId::from_bytes([1; 32])),
            group: Some("team".into()),
            lifetime: Duration::from_secs(60),
        }
    }

    const SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";

    #[test]
    fn a_token_says_what_was_granted() {
        let token = issue(&grant(), SECRET, 1000).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let peer = PeerId::from_bytes([1; 32]).to_string();
        let expected = serde_json::json!({"aud": "ns/edge", "exp": 1060, "iat": 1000, "sub": peer, "grp": "team"});
        assert_eq!(claims, expected);
        let with_line_end = [SECRET, b"\n"].concat();
        assert_eq!(issue(&grant(), &with_line_end, 1000).unwrap(), token);
    }

    #[test]
    fn what_no_relay_would_take_is_not_made() {
        let wrong = |change: fn(&mut Grant)| {
            let mut grant = grant();
            change(&mut grant);
            issue(&grant, SECRET, 0).unwrap_err()
        };
        assert!(matches!(
            issue(&grant(), b"short\n\n", 0),
            Err(TokenError::ShortSecret(ShortSecret { length: 5 }))
        ));
        for pool in ["", "edge", "/edge", "ns/", "a/b/c"] {
            assert!(
                matches!(
                    issue(&Grant { pool: pool.into(), ..grant() }, SECRET, 0),
                    Err(TokenError::Pool(_))
                ),
                "{pool}"
            );
        }
        assert!(matches!(
            wrong(|grant| grant.group = Some("g".repeat(129))),
            TokenError::Group(129)
        ));
    }
}
