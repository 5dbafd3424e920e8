//! What a token says, for people who wonder why it does not open a pool.

use std::fmt;

use baton_protocol::token::{LEEWAY_SECONDS, TokenKey, verify};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::unverified::{part, seconds};

/// What a token says of itself, and whether that can be believed.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// All of the header.
    pub header: Map<String, Value>,
    /// All claims.
    pub claims: Map<String, Value>,
    /// When it begins, if it says: RFC 3339.
    pub begins: Option<String>,
    /// When it ends: RFC 3339.
    pub ends: Option<String>,
    /// Whether it is over, or has not begun, with what relays allow clocks to differ.
    pub in_time: bool,
    /// Whether one of the keys made it; `None` if there was no key to tell by.
    pub verified: Option<bool>,
    /// Why it was not verified.
    pub problem: Option<String>,
    #[serde(skip)]
    now_unix: u64,
}

/// Something else than a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no access token: a JWT has three parts, of which the first two are JSON in base64url"
)]
pub struct NoToken;

/// Reads a token at `now_unix` (seconds after the Unix epoch), and verifies it if there are `keys`.
pub fn inspect(token: &str, keys: &[TokenKey], now_unix: u64) -> Result<Inspection, NoToken> {
    let token = token.trim();
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _] = parts[..] else { return Err(NoToken) };
    let (header, claims) = part(header.as_bytes()).zip(part(claims.as_bytes())).ok_or(NoToken)?;
    let begins = seconds(claims.get("nbf"));
    let ends = seconds(claims.get("exp"));
    let judged = (!keys.is_empty()).then(|| verify(token.as_bytes(), keys));
    Ok(Inspection {
        begins: begins.and_then(rfc3339),
        ends: ends.and_then(rfc3339),
        in_time: ends.is_some_and(|ends| now_unix < ends.saturating_add(LEEWAY_SECONDS))
            && begins.is_none_or(|begins| begins <= now_unix.saturating_add(LEEWAY_SECONDS)),
        verified: judged.as_ref().map(Result::is_ok),
        problem: judged.and_then(Result::err).map(|fault| fault.to_string()),
        header,
        claims,
        now_unix,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |map: &Map<String, Value>, name: &str, none: &str| match map.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => none.to_owned(),
        };
        let at = |name: &str, moment: &Option<String>, none: &str| match moment {
            Some(moment) => {
                let away = seconds(self.claims.get(name)).map(|at| distance(at, self.now_unix));
                format!("{moment}, {}", away.unwrap_or_default())
            }
            None => text(&self.claims, name, none),
        };
        writeln!(f, "algorithm  {}", text(&self.header, "alg", "none is said"))?;
        writeln!(f, "key        {}", text(&self.header, "kid", "none is named"))?;
        writeln!(f, "pool       {}", text(&self.claims, "aud", "none is said: no relay takes it"))?;
        writeln!(f, "peer       {}", text(&self.claims, "sub", "any, with any key"))?;
        writeln!(f, "group      {}", text(&self.claims, "grp", "the empty one"))?;
        writeln!(f, "begins     {}", at("nbf", &self.begins, "at any time"))?;
        writeln!(f, "ends       {}", at("exp", &self.ends, "never: no relay takes it"))?;
        for (name, value) in &self.claims {
            if !["aud", "sub", "grp", "nbf", "exp"].contains(&name.as_str()) {
                writeln!(f, "{name:10} {value}")?;
            }
        }
        let verified = match (self.verified, &self.problem) {
            (Some(true), _) => "yes: one of the keys made it",
            (Some(false), Some(problem)) => problem,
            _ => "NOT VERIFIED: anyone can have written this; give --key-file to know",
        };
        write!(f, "verified   {verified}")
    }
}

/// `None` beyond the year 9999.
fn rfc3339(unix: u64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(unix).ok()?).ok()?;
    moment.format(&Rfc3339).ok()
}

/// In words, in the two largest units.
fn distance(at: u64, now: u64) -> String {
    let away = at.abs_diff(now);
    let (days, hours) = (away / 86_400, away / 3600 % 24);
    let (minutes, seconds) = (away / 60 % 60, away % 60);
    let words = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    };
    if at > now { format!("in {words}") } else { format!("{words} ago") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use data_encoding::BASE64URL_NOPAD;

    use super::super::{Grant, issue};
    use super::*;

    const SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";
    const NOW: u64 = 1_800_000_000;

    fn token() -> String {
        let grant = Grant {
            pool: "ns/edge".into(),
            peer: None,
            group: Some("team".into()),
            lifetime: Duration::from_secs(5400),
        };
        issue(&grant, SECRET, NOW).unwrap()
    }

    #[test]
    fn a_token_is_told_in_words_and_whether_to_believe_it() {
        let unverified = inspect(&format!("{}\n", token()), &[], NOW + 60).unwrap().to_string();
        for line in [
            "algorithm  HS256",
            "pool       ns/edge",
            "peer       any, with any key",
            "group      team",
            "begins     at any time",
            "ends       2027-01-15T09:30:00Z, in 1 h 29 min",
            "iat        1800000000",
            "verified   NOT VERIFIED: anyone can have written this; give --key-file to know",
        ] {
            assert!(unverified.lines().any(|found| found == line), "{line} in {unverified}");
        }
        let verified = inspect(&token(), &[TokenKey::secret(SECRET)], NOW).unwrap();
        assert_eq!((verified.verified, verified.in_time), (Some(true), true));
        let other = inspect(&token(), &[TokenKey::secret(&[9; 32])], NOW + 5400 + 30).unwrap();
        assert_eq!((other.verified, other.in_time), (Some(false), false));
        let text = other.to_string();
        assert!(text.contains("verified   the access token was not made"), "{text}");
        assert!(text.contains("30 s ago"), "{text}");
    }

    #[test]
    fn what_is_missing_or_strange_is_told_too() {
        let part = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
        let of = |claims: &str| {
            inspect(&format!("{}.{}.", part(r#"{"alg":"none"}"#), part(claims)), &[], NOW).unwrap()
        };
        let empty = of("{}");
        assert!(!empty.in_time);
        assert!(empty.to_string().contains("ends       never: no relay takes it"), "{empty}");
        let strange = of(r#"{"exp": 1e300, "aud": ["a/b", "c/d"], "nbf": "soon"}"#);
        let text = strange.to_string();
        for part in [r#"pool       ["a/b","c/d"]"#, "begins     soon", "ends       1e+300"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let distances =
            [(59, "in 59 s"), (60, "in 1 min 0 s"), (3600, "in 1 h 0 min"), (90_000, "in 1 d 1 h")];
        for (away, words) in distances {
            assert_eq!(distance(NOW + away, NOW), words);
        }
        for text in ["", "a.b", "a.b.c", "e30.e30", "e30.e30.a.b", "e30.W10.a"] {
            assert_eq!(inspect(text, &[], NOW), Err(NoToken), "{text}");
        }
    }
}
