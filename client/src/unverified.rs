//! What a token says of itself. Nobody has verified it: it is for its owner, who was told no lies by it.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// Header or claims, as they stand in a token.
pub(crate) fn part(text: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(text).ok()?).ok()
}

/// A claim that is a time, in seconds after the Unix epoch. It may have a fraction (RFC 7519 section 2).
pub(crate) fn seconds(claim: Option<&Value>) -> Option<u64> {
    let claim = claim?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    claim.as_u64().or_else(|| claim.as_f64().filter(|number| *number >= 0.0).map(|it| it as u64))
}

/// When a token ends, if it says.
pub(crate) fn ends_of(token: &[u8]) -> Option<u64> {
    let claims = part(token.split(|byte| *byte == b'.').nth(1)?)?;
    seconds(claims.get("exp"))
}

/// Now, as tokens have times: in seconds after the Unix epoch. A clock before 1970 is taken for one that begins there.
#[must_use]
#[cfg_attr(not(feature = "command"), expect(unreachable_pub, reason = "part of `token`"))]
pub fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_its_end() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64URL_NOPAD.encode(claims.as_bytes()));
        let of = |claims: &str| ends_of(token(claims).as_bytes());
        assert_eq!(of(r#"{"exp": 5, "aud": []}"#), Some(5));
        assert_eq!(of(r#"{"exp": 5.9}"#), Some(5));
        for claims in ["{}", r#"{"exp": "5"}"#, r#"{"exp": -1}"#, "no"] {
            assert_eq!(of(claims), None, "{claims}");
        }
        for token in ["", "opaque", "a.b.c", "..", "a.!.c"] {
            assert_eq!(ends_of(token.as_bytes()), None, "{token}");
        }
    }
}
