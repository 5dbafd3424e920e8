//! Who may use a token, where, and until when. It is told the time.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use super::key::TokenKey;
use crate::id::PeerId;
use crate::ticket::MAX_GROUP;

/// Clocks of issuer and relay may differ by this many seconds.
pub const LEEWAY_SECONDS: u64 = 30;

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The pools that it is for, each `<namespace>/<pool>`.
    pub audiences: Vec<String>,
    /// Its end, in seconds after the Unix epoch.
    pub expires_unix: u64,
    /// Its beginning.
    pub not_before_unix: Option<u64>,
    /// The peer that it is for; none means whoever holds it.
    pub peer: Option<PeerId>,
    /// Whom its bearer may reach; empty if it does not say.
    pub group: String,
}

/// A token that lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// No JWT, or one of an algorithm that is no signature.
    #[error("the access token is no JWT that is signed by HS256, EdDSA or ES256")]
    Form,
    /// It wants something understood that nobody here understands.
    #[error("the access token has a 'crit' header, and no extension is known")]
    Critical,
    /// Its `kid` is that of no key.
    #[error("the access token's 'kid' names no key of this pool")]
    UnknownKey,
    /// No key is for its algorithm.
    #[error("the access token's algorithm is {0}, for which this pool has no key")]
    Algorithm(String),
    /// No key made it.
    #[error("the access token was not made with a secret or key of this pool")]
    Signature,
    /// Its claims cannot be read.
    #[error("a claim of the access token is not of its type")]
    Claims,
    /// It lacks a claim that it must have.
    #[error("the access token has no claim '{0}'")]
    Missing(&'static str),
    /// It is for others than peers of Baton.
    #[error("the access token's subject is no peer id")]
    Subject,
    /// Its group is too long.
    #[error("the access token's group is longer than {MAX_GROUP} bytes")]
    Group,
    /// It is for another pool.
    #[error("the access token is for another pool than {0}")]
    Audience(String),
    /// It is another peer's.
    #[error("the access token is another peer's")]
    OtherPeer,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the access token is not valid yet")]
    Early,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Raw {
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    sub: Option<String>,
    grp: Option<String>,
}

/// Verifies that one of `keys` made the token, and reads what it says. Whether that holds now, and here, is for
/// [`Claims::judge`].
///
/// A key verifies only tokens of its own algorithm. A key with an id verifies only tokens that name it, or none.
pub fn verify(token: &[u8], keys: &[TokenKey]) -> Result<Claims, TokenFault> {
    let header = decode_header(token).map_err(|_| TokenFault::Form)?;
    if header.crit.is_some() {
        return Err(TokenFault::Critical);
    }
    let named = |key: &&TokenKey| match (&key.id, &header.kid) {
        (Some(id), Some(kid)) => id == kid,
        _ => true,
    };
    let mut fault = match keys.iter().any(|key| named(&key)) {
        true => TokenFault::Algorithm(format!("{:?}", header.alg)),
        false => TokenFault::UnknownKey,
    };
    for key in keys.iter().filter(named).filter(|key| key.algorithm == header.alg) {
        // Times and audience are judged by us, who are told the time.
        let mut validation = Validation::new(key.algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        match decode::<Raw>(token, &key.key, &validation) {
            Ok(token) => return token.claims.read(),
            Err(error) => {
                fault = match error.kind() {
                    // The claims are looked at once the signature is found right.
                    ErrorKind::Json(_) | ErrorKind::Utf8(_) => return Err(TokenFault::Claims),
                    _ => TokenFault::Signature,
                }
            }
        }
    }
    Err(fault)
}

impl Raw {
    fn read(self) -> Result<Claims, TokenFault> {
        let audiences = match self.aud.ok_or(TokenFault::Missing("aud"))? {
            Audience::One(one) => vec![one],
            Audience::Several(several) => several,
        };
        let expires_unix = seconds(self.exp.ok_or(TokenFault::Missing("exp"))?)?;
        let not_before_unix = self.nbf.map(seconds).transpose()?;
        let peer = self.sub.map(|subject| subject.parse()).transpose();
        let peer = peer.map_err(|_| TokenFault::Subject)?;
        let group = self.grp.unwrap_or_default();
        if group.len() > MAX_GROUP {
            return Err(TokenFault::Group);
        }
        Ok(Claims { audiences, expires_unix, not_before_unix, peer, group })
    }
}

/// A NumericDate may have a fraction (RFC 7519 section 2).
fn seconds(number: f64) -> Result<u64, TokenFault> {
    // Whole seconds below 2^53 are exact; 2^53 of them are 285 million years.
    let sane = (0.0..9_007_199_254_740_992.0).contains(&number);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    sane.then_some(number as u64).ok_or(TokenFault::Claims)
}

impl Claims {
    /// Whether the token lets `peer` into the pool `audience` at `now_unix` (seconds after the Unix epoch).
    pub fn judge(&self, audience: &str, peer: &PeerId, now_unix: u64) -> Result<(), TokenFault> {
        if !self.audiences.iter().any(|named| named == audience) {
            return Err(TokenFault::Audience(audience.to_owned()));
        }
        if self.peer.as_ref().is_some_and(|named| named != peer) {
            return Err(TokenFault::OtherPeer);
        }
        if self.ends_unix() <= now_unix {
            return Err(TokenFault::Expired);
        }
        let begins = self.not_before_unix.unwrap_or(0);
        if now_unix.saturating_add(LEEWAY_SECONDS) < begins {
            return Err(TokenFault::Early);
        }
        Ok(())
    }

    /// The end of what it opens: its own, and what clocks may differ.
    #[must_use]
    pub const fn ends_unix(&self) -> u64 {
        self.expires_unix.saturating_add(LEEWAY_SECONDS)
    }
}
