//! The keys that access tokens are verified with: shared secrets, public keys in PEM, JWK and JWKS (RFC 7517).
//!
//! What a file is, its name says, and what is in it must agree. So a public key never becomes a shared secret by accident,
//! with which everyone could make tokens. And each key is for one algorithm, whatever a token says of itself.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::{MIN_SECRET, ShortSecret, secret_of};

/// What comes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What comes before the 65 bytes of an uncompressed point of P-256 in one (RFC 5480 section 2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// One key, for one algorithm.
#[derive(Clone)]
pub struct TokenKey {
    /// Its `kid`, if it has one.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl std::fmt::Debug for TokenKey {
    /// Without the key, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A file that has no usable keys in it. What it says never holds anything of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A shared secret is too short to be one.
    #[error("it has {0}")]
    Short(#[from] ShortSecret),
    /// By its name a shared secret, and something else by what is in it.
    #[error("a shared secret would have this name, but there is {what} in it: name it *{ending}")]
    LooksLike {
        /// What there seems to be.
        what: &'static str,
        /// What such a file's name ends with.
        ending: &'static str,
    },
    /// A key that only who makes tokens may have.
    #[error(
        "there is a private key in it: who verifies tokens needs the public one alone (`openssl pkey -pubout`)"
    )]
    Private,
    /// No public key in PEM.
    #[error("there is no public key in PEM (`BEGIN PUBLIC KEY`) in it")]
    NoPem,
    /// A public key of another kind.
    #[error("public key {number} in it is neither Ed25519 nor P-256")]
    PemKind {
        /// Counted from 1.
        number: usize,
    },
    /// No JSON, or not of this form.
    #[error("it is no JWK and no JWKS: see line {line}, column {column}")]
    Json {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// A JWK that cannot be used.
    #[error("key {number} in it cannot be used: {problem}")]
    Jwk {
        /// Counted from 1.
        number: usize,
        /// Why.
        problem: &'static str,
    },
    /// Only keys of algorithms that no token may have.
    #[error("no key in it is for EdDSA (Ed25519), ES256 (P-256) or HS256")]
    NoneUsable,
}

impl TokenKey {
    /// A shared secret, for HS256. It must have [`MIN_SECRET`] bytes or more, which [`secret_of`] says.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        Self { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) }
    }

    /// The keys in a file. Its name says what it is: `*.json` and `*.jwks` a JWKS or one JWK, `*.jwk` one, `*.pem` and `*.pub`
    /// public keys in PEM, all else one shared secret.
    pub fn read(name: &str, content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending.to_ascii_lowercase().as_str() {
            "json" | "jwk" | "jwks" => jwks(content),
            "pem" | "pub" => pem(content),
            _ => shared(content).map(|key| vec![key]),
        }
    }
}

fn shared(content: &[u8]) -> Result<TokenKey, KeyError> {
    // Random bytes may begin with anything; only text can be taken for text.
    let text = std::str::from_utf8(content).unwrap_or_default().trim_start();
    if text.starts_with('{') {
        return Err(KeyError::LooksLike { what: "JSON", ending: ".json" });
    }
    if text.starts_with("-----BEGIN") {
        return Err(KeyError::LooksLike { what: "PEM", ending: ".pem" });
    }
    Ok(TokenKey::secret(secret_of(content)?))
}

fn pem(content: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
    if content.windows(12).any(|window| window == b"PRIVATE KEY-") {
        return Err(KeyError::Private);
    }
    let found: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(content).collect();
    let found = found.ok().filter(|found| !found.is_empty()).ok_or(KeyError::NoPem)?;
    let read = |(index, der): (usize, &SubjectPublicKeyInfoDer<'_>)| {
        of_der(der).ok_or(KeyError::PemKind { number: index + 1 })
    };
    found.iter().enumerate().map(read).collect()
}

fn of_der(der: &[u8]) -> Option<TokenKey> {
    match (der.strip_prefix(&ED25519), der.strip_prefix(&P256)) {
        (Some(key), _) => ed25519(None, key),
        (_, Some(point)) => p256(None, point),
        _ => None,
    }
}

fn ed25519(id: Option<String>, key: &[u8]) -> Option<TokenKey> {
    let parsed = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    // With a key of small order there are signatures that fit any text.
    let key = DecodingKey::from_ed_der(key);
    (!parsed.is_weak()).then_some(TokenKey { id, algorithm: Algorithm::EdDSA, key })
}

fn p256(id: Option<String>, point: &[u8]) -> Option<TokenKey> {
    let key = DecodingKey::from_ec_der(point);
    let uncompressed = point.len() == 65 && point[0] == 4;
    uncompressed.then_some(TokenKey { id, algorithm: Algorithm::ES256, key })
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// One key of RFC 7517, with what RFC 7518 and RFC 8037 say of kinds that tokens may be made with.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// The private half.
    d: Option<serde::de::IgnoredAny>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
}

fn jwks(content: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
    // The message of the parser may show what stands there; its place does not.
    let failed =
        |error: &serde_json::Error| KeyError::Json { line: error.line(), column: error.column() };
    let keys = match serde_json::from_slice::<Set>(content) {
        Ok(set) => set.keys,
        Err(of_set) => match serde_json::from_slice::<Jwk>(content) {
            Ok(jwk) => vec![jwk],
            Err(of_jwk) => {
                let error = if of_jwk.is_data() { &of_set } else { &of_jwk };
                return Err(failed(error));
            }
        },
    };
    let mut usable = Vec::new();
    for (index, jwk) in keys.iter().enumerate() {
        let read = jwk.read().map_err(|problem| KeyError::Jwk { number: index + 1, problem })?;
        usable.extend(read);
    }
    if usable.is_empty() { Err(KeyError::NoneUsable) } else { Ok(usable) }
}

impl Jwk {
    /// `None` if it is of a kind, or for a use, that is not ours: issuers publish such keys beside ours (RFC 7517 section 5).
    fn read(&self) -> Result<Option<TokenKey>, &'static str> {
        let ops = self.key_ops.as_deref();
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig")
            || ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Ok(None);
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => {
                (&["EdDSA", "Ed25519"][..], ed25519(self.kid.clone(), &decode(self.x.as_ref())?))
            }
            ("EC", Some("P-256")) => {
                let point = [vec![4], decode(self.x.as_ref())?, decode(self.y.as_ref())?].concat();
                (&["ES256"][..], p256(self.kid.clone(), &point))
            }
            ("oct", _) => {
                let secret = decode(self.k.as_ref())?;
                if secret.len() < MIN_SECRET {
                    return Err("it is a shared secret of less than 32 bytes");
                }
                let id = self.kid.clone();
                (&["HS256"][..], Some(TokenKey { id, ..TokenKey::secret(&secret) }))
            }
            _ => return Ok(None),
        };
        if self.d.is_some() {
            return Err(
                "it is a private key, which only who makes tokens may have: remove its 'd'",
            );
        }
        if self.alg.as_deref().is_some_and(|named| !algorithm.contains(&named)) {
            return Err("its 'alg' is not what a key of its kind is for");
        }
        key.map(Some).ok_or("its point is none")
    }
}

fn decode(field: Option<&String>) -> Result<Vec<u8>, &'static str> {
    let text = field.ok_or("'x', 'y' or 'k' is missing")?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| "'x', 'y' or 'k' is no base64url")
}
