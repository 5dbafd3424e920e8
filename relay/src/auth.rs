//! Who may attach: access tokens and tickets.
//!
//! The checks of a HELLO go from cheap to dear: token or ticket first, the signature last, so that whoever has neither
//! costs no curve arithmetic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use baton_protocol::frame::{Hello, Intent, RefusalCode, Refused, Retry};
use baton_protocol::id::{PeerId, Stamp};
use baton_protocol::ticket::{MAX_GROUP, Ticket, TicketKey};
use baton_protocol::token::{ShortSecret, secret_of};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// Clocks of issuer and relay may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 30;

/// The end of what has none: in an `open` pool there is no token whose end a session could have.
const NEVER: u64 = u64::MAX;

/// Whom a pool lets in.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Who shows a JWT (HS256) made with one of these secrets.
    Token(TokenKeys),
    /// Anyone who holds a key. For tests and closed networks.
    Open,
}

/// The secrets that access tokens are made with.
#[derive(Clone)]
pub struct TokenKeys(Vec<DecodingKey>);

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} token keys", self.0.len())
    }
}

/// Access token secrets that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The folder or a file in it cannot be read.
    #[error("the access token secrets in {} cannot be read: mount the Secret <pool>-auth there", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are none.
    #[error("there is no access token secret in {}: mount the Secret <pool>-auth there", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// One is too short to be one.
    #[error("the access token secret {} has {short}", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// What it has.
        short: ShortSecret,
    },
}

impl TokenKeys {
    /// These secrets.
    #[must_use]
    pub fn from_secrets(secrets: &[&[u8]]) -> Self {
        Self(secrets.iter().map(|secret| DecodingKey::from_secret(secret)).collect())
    }

    /// Reads the mounted auth Secret: each file is one secret, without the end of its line. The error is every one
    /// that cannot be used.
    pub fn read(folder: &Path) -> Result<Self, Vec<TokenKeyError>> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TokenKeyError::Read { path, source }
        };
        let (mut keys, mut wrong) = (Vec::new(), Vec::new());
        let entries = std::fs::read_dir(folder).map_err(|source| vec![failed(folder)(source)])?;
        // Kubernetes' own entries of a mounted Secret begin with two dots.
        let names: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        for name in names.iter().filter(|name| !name.to_string_lossy().starts_with('.')) {
            let path = folder.join(name);
            match std::fs::read(&path).map_err(failed(&path)) {
                Ok(bytes) => match secret_of(&bytes) {
                    Ok(secret) => keys.push(DecodingKey::from_secret(secret)),
                    Err(short) => wrong.push(TokenKeyError::Short { path, short }),
                },
                Err(error) => wrong.push(error),
            }
        }
        if keys.is_empty() && wrong.is_empty() {
            wrong.push(TokenKeyError::None { path: folder.into() });
        }
        if wrong.is_empty() { Ok(Self(keys)) } else { Err(wrong) }
    }
}

/// Who is let in, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Who it may reach.
    pub group: String,
    /// The end of it, in seconds after the Unix epoch: that of the token, with the leeway with which the token was let in.
    pub expires_unix: u64,
    /// Whether anyone was let in.
    pub open: bool,
    /// The last stamp that the peer showed.
    pub known: Option<Stamp>,
}

/// Decides whom to let in.
#[derive(Debug)]
pub struct Gate {
    mode: Mode,
    /// `<namespace>/<pool>`.
    audience: String,
    ticket_keys: Vec<TicketKey>,
}

#[derive(Deserialize)]
struct Claims {
    /// Optional here so that its absence is reported by name, by the validation.
    #[serde(default)]
    exp: Option<u64>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    grp: Option<String>,
}

impl Gate {
    /// A gate for the pool with this audience.
    #[must_use]
    pub fn new(mode: Mode, audience: String, ticket_keys: Vec<TicketKey>) -> Self {
        Self { mode, audience, ticket_keys }
    }

    /// Judges token or ticket of a HELLO at `now_unix` (seconds after the Unix epoch). The signature is judged by the caller.
    pub fn admit(&self, hello: &Hello, now_unix: u64) -> Result<Admission, Refused> {
        match hello.intent {
            Intent::Fresh => self.admit_token(hello),
            Intent::Handover | Intent::Resume => self.admit_ticket(hello, now_unix),
        }
    }

    /// The ticket for a session that was let in like this, under this stamp.
    pub(crate) fn ticket(
        &self,
        hello: &Hello,
        admission: &Admission,
        stamp: Stamp,
    ) -> bytes::Bytes {
        let ticket = Ticket {
            peer: hello.peer,
            instance: hello.instance,
            stamp,
            group: admission.group.clone(),
            expires_unix: admission.expires_unix,
            open: admission.open,
        };
        // A gate is made with at least one key: PoolKeys always has a current secret.
        self.ticket_keys.first().map(|key| ticket.seal(key)).unwrap_or_default()
    }

    fn admit_token(&self, hello: &Hello) -> Result<Admission, Refused> {
        let keys = match &self.mode {
            Mode::Open => {
                let group = String::new();
                return Ok(Admission { group, expires_unix: NEVER, open: true, known: None });
            }
            Mode::Token(keys) => keys,
        };
        if hello.token.is_empty() {
            return Err(never(RefusalCode::TokenRequired, "this pool demands an access token"));
        }
        let claims = self.claims(keys, &hello.token)?;
        if claims.sub.as_deref().is_some_and(|subject| subject.parse() != Ok(hello.peer)) {
            return Err(never(RefusalCode::TokenInvalid, "the access token is another peer's"));
        }
        let group = claims.grp.unwrap_or_default();
        if group.len() > MAX_GROUP {
            return Err(never(
                RefusalCode::TokenInvalid,
                "the access token's group is longer than 128 bytes",
            ));
        }
        let expires_unix = claims
            .exp
            .ok_or_else(|| never(RefusalCode::TokenInvalid, "the access token never expires"))?;
        let expires_unix = expires_unix.saturating_add(LEEWAY_SECONDS);
        Ok(Admission { group, expires_unix, open: false, known: None })
    }

    fn claims(&self, keys: &TokenKeys, token: &[u8]) -> Result<Claims, Refused> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let mut refused = never(
            RefusalCode::TokenInvalid,
            "the access token was not made with a secret of this pool",
        );
        for key in &keys.0 {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => {
                    if let Some(better) = explain(error.kind(), &self.audience) {
                        refused = better;
                    }
                }
            }
        }
        Err(refused)
    }

    fn admit_ticket(&self, hello: &Hello, now_unix: u64) -> Result<Admission, Refused> {
        let invalid = |message: &str| Refused {
            code: RefusalCode::TicketInvalid,
            retry: Retry::Fresh,
            message: message.to_owned(),
        };
        let ticket = Ticket::open(&hello.ticket, &self.ticket_keys, now_unix)
            .map_err(|error| invalid(&error.to_string()))?;
        if ticket.peer != hello.peer {
            return Err(invalid("the ticket is another peer's"));
        }
        if ticket.instance != hello.instance {
            return Err(invalid("the ticket is another process's"));
        }
        if ticket.open && !matches!(self.mode, Mode::Open) {
            return Err(invalid("the ticket is of a time when this pool demanded no access token"));
        }
        Ok(Admission {
            group: ticket.group,
            expires_unix: ticket.expires_unix,
            open: ticket.open,
            known: Some(ticket.stamp),
        })
    }
}

/// The refusal of a HELLO whose signature is wrong.
pub(crate) fn bad_signature(peer: &PeerId) -> Refused {
    never(
        RefusalCode::BadSignature,
        &format!("the signature is not that of peer {peer} on this connection"),
    )
}

fn explain(error: &jsonwebtoken::errors::ErrorKind, audience: &str) -> Option<Refused> {
    use jsonwebtoken::errors::ErrorKind;
    match error {
        ErrorKind::ExpiredSignature => {
            Some(never(RefusalCode::TokenExpired, "the access token has expired"))
        }
        ErrorKind::ImmatureSignature => {
            Some(never(RefusalCode::TokenExpired, "the access token is not valid yet"))
        }
        ErrorKind::InvalidAudience => Some(never(
            RefusalCode::TokenInvalid,
            &format!("the access token is for another pool than {audience}"),
        )),
        ErrorKind::MissingRequiredClaim(claim) => Some(never(
            RefusalCode::TokenInvalid,
            &format!("the access token has no claim '{claim}'"),
        )),
        ErrorKind::InvalidAlgorithm => Some(never(
            RefusalCode::TokenInvalid,
            "the access token's algorithm is not HS256, which this pool wants",
        )),
        _ => None,
    }
}

fn never(code: RefusalCode, message: &str) -> Refused {
    Refused { code, retry: Retry::Never, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use baton_protocol::id::Instance;
    use bytes::Bytes;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";
    const PEER: PeerId = PeerId::from_bytes([1; 32]);
    const NOW: u64 = 4_000_000_000;

    fn gate() -> Gate {
        let keys =
            TokenKeys::from_secrets(&[b"an older secret that is still being exchanged", SECRET]);
        Gate::new(Mode::Token(keys), "ns/edge".into(), vec![TicketKey::from_bytes([7; 32])])
    }

    fn hello(token: Bytes) -> Hello {
        Hello {
            intent: Intent::Fresh,
            peer: PEER,
            instance: Instance::from_bytes([2; 16]),
            capabilities: 0,
            token,
            ticket: Bytes::new(),
            signature: [0; 64],
        }
    }

    fn token(claims: &Value) -> Bytes {
        let key = EncodingKey::from_secret(SECRET);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap().into()
    }

    fn admission(group: &str, expires_unix: u64) -> Admission {
        Admission { group: group.into(), expires_unix, open: false, known: None }
    }

    #[test]
    fn a_token_lets_its_peer_or_any_of_its_group_in() {
        let admitted = |claims| gate().admit(&hello(token(&claims)), NOW);
        let admitted_to = |group: &str| Ok(admission(group, NOW + LEEWAY_SECONDS));
        assert_eq!(
            admitted(json!({"aud": "ns/edge", "exp": NOW, "sub": PEER.to_string(), "grp": "team"})),
            admitted_to("team")
        );
        assert_eq!(admitted(json!({"aud": "ns/edge", "exp": NOW})), admitted_to(""));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let other = PeerId::from_bytes([9; 32]).to_string();
        let table = [
            (
                json!({"aud": "ns/edge", "exp": NOW, "sub": other}),
                RefusalCode::TokenInvalid,
                "another peer's",
            ),
            (
                json!({"aud": "ns/other", "exp": NOW}),
                RefusalCode::TokenInvalid,
                "another pool than ns/edge",
            ),
            (json!({"aud": "ns/edge", "exp": 1000}), RefusalCode::TokenExpired, "has expired"),
            (
                json!({"aud": "ns/edge", "exp": NOW, "nbf": NOW}),
                RefusalCode::TokenExpired,
                "not valid yet",
            ),
            (json!({"aud": "ns/edge"}), RefusalCode::TokenInvalid, "no claim 'exp'"),
            (
                json!({"aud": "ns/edge", "exp": NOW, "grp": "g".repeat(200)}),
                RefusalCode::TokenInvalid,
                "group is longer",
            ),
        ];
        for (claims, code, message) in table {
            let refused = gate().admit(&hello(token(&claims)), NOW).unwrap_err();
            assert_eq!((refused.code, refused.retry), (code, Retry::Never), "{refused:?}");
            assert!(refused.message.contains(message), "{refused:?}");
        }
        let refused = |token: &'static [u8]| {
            gate().admit(&hello(Bytes::from_static(token)), NOW).unwrap_err().code
        };
        assert_eq!(refused(b""), RefusalCode::TokenRequired);
        assert_eq!(refused(b"nonsense"), RefusalCode::TokenInvalid);
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let unsigned = b"eyJhbGciOiJub25lIn0.eyJhdWQiOiJucy9lZGdlIiwiZXhwIjo0MDAwMDAwMDAwfQ.";
        assert_eq!(
            gate().admit(&hello(Bytes::from_static(unsigned)), NOW).unwrap_err().code,
            RefusalCode::TokenInvalid
        );
    }

    #[test]
    fn a_ticket_lets_the_same_process_of_the_same_peer_in() {
        let fresh = hello(Bytes::new());
        let admission = admission("team", NOW + 60);
        let ticket = gate().ticket(&fresh, &admission, Stamp::from_u64(5));
        let moving = Hello { intent: Intent::Handover, ticket, ..fresh };
        let known = Some(Stamp::from_u64(5));
        assert_eq!(gate().admit(&moving, NOW), Ok(Admission { known, ..admission }));

        let refused = |hello: Hello, now| gate().admit(&hello, now).unwrap_err();
        let other_peer = Hello { peer: PeerId::from_bytes([3; 32]), ..moving.clone() };
        let other_process = Hello { instance: Instance::from_bytes([3; 16]), ..moving.clone() };
        let none = Hello { ticket: Bytes::new(), ..moving.clone() };
        for refused in [
            refused(other_peer, NOW),
            refused(other_process, NOW),
            refused(none, NOW),
            refused(moving, NOW + 60),
        ] {
            assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
        }
    }

    #[test]
    fn who_came_without_a_token_stays_until_tokens_are_demanded() {
        let fresh = hello(Bytes::new());
        let open = Gate { mode: Mode::Open, ..gate() };
        let admitted = open.admit(&fresh, NOW).unwrap();
        assert_eq!((admitted.expires_unix, admitted.open), (NEVER, true));
        let ticket = open.ticket(&fresh, &admitted, Stamp::from_u64(5));
        let resume = Hello { intent: Intent::Resume, ticket, ..fresh };
        assert!(open.admit(&resume, NOW + 365 * 24 * 3600).is_ok());
        let refused = gate().admit(&resume, NOW).unwrap_err();
        assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
    }

    /// The tokens of docs/protocol.md's test vectors, with what is said to each there.
    #[test]
    fn the_tokens_of_the_vectors_are_judged_as_they_say() {
        let vectors = include_str!("../../protocol/vectors/tokens.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = TokenKeys::from_secrets(&[text(&vectors["secret"]).as_bytes()]);
        let gate = Gate::new(Mode::Token(keys), text(&vectors["audience"]), vec![]);
        let judge = |vector: &Value| {
            let peer = text(&vectors["peer"]).parse().unwrap();
            gate.admit(&Hello { peer, ..hello(text(&vector["token"]).into()) }, NOW)
        };
        for vector in vectors["admitted"].as_array().unwrap() {
            let ends = vector["session_ends"].as_u64().unwrap();
            let admitted = admission(&text(&vector["group"]), ends);
            assert_eq!(judge(vector), Ok(admitted), "{}", vector["what"]);
        }
        for vector in vectors["refused"].as_array().unwrap() {
            let refused = judge(vector).expect_err("a refusal");
            let wanted = (vector["refused"].as_str().unwrap(), Retry::Never);
            assert_eq!((refused.code.name(), refused.retry), wanted, "{}", vector["what"]);
        }
    }
}
