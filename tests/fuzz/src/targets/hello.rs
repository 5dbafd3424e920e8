//! What a stranger says first, and what a relay makes of it: HELLO, access tokens, tickets, signatures.

use std::convert::Infallible;
use std::sync::LazyLock;

use baton_protocol::frame::{Hello, Intent, RefusalCode, Retry};
use baton_protocol::hello::{self, EXPORTER_LENGTH};
use baton_protocol::id::{Instance, PeerId};
use baton_protocol::ticket::{MAX_GROUP, Ticket, TicketKey};
use baton_relay::auth::{Gate, Mode, Tickets, TokenKeys};
use baton_relay::greeting::Greeting;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{choice, pieces};

/// Seconds after the Unix epoch, for what is told the time.
const NOW: u64 = 1_800_000_000;

/// The pool's secret for access tokens.
pub(crate) const TOKEN_SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";

/// The key of the pool's tickets.
pub(crate) const TICKET_KEY: [u8; 32] = [7; 32];

/// What the connection exports, whatever the context: the signature's input is not what is guessed here.
const EXPORTED: [u8; EXPORTER_LENGTH] = [0x2a; EXPORTER_LENGTH];

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let keys = TokenKeys::from_secrets(&[TOKEN_SECRET]);
    Gate::new(
        Mode::Token(keys),
        "ns/edge".into(),
        Tickets { keys: vec![TicketKey::from_bytes(TICKET_KEY)], epoch: 0 },
    )
});

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[1; 32]));

/// The first bytes of a client. Only what is signed is let in, and a refusal tells the client what to do.
pub(crate) fn greeting(data: &[u8]) {
    let Some((first, bytes)) = choice(data) else { return };
    let mut greeting = Greeting::default();
    for piece in pieces(first, bytes) {
        greeting.push(piece);
        match greeting.hello() {
            Ok(None) => {}
            Ok(Some(hello)) => {
                judge(&hello);
                return drop(greeting.authenticated());
            }
            Err(_) => return,
        }
    }
}

fn judge(hello: &Hello) {
    let Ok(judged) = GATE.judge::<Infallible>(hello, NOW, |_| Ok(EXPORTED));
    match judged {
        Ok(admission) => {
            assert_eq!(hello::verify(hello, &EXPORTED), Ok(()), "let in without a signature");
            assert!(!admission.open && admission.group.len() <= MAX_GROUP, "{admission:?}");
        }
        Err(refused) => {
            let fresh = refused.code == RefusalCode::TicketInvalid;
            assert_eq!(refused.retry == Retry::Fresh, fresh, "{refused:?}");
            assert_eq!(
                fresh,
                hello.intent != Intent::Fresh && refused.code != RefusalCode::BadSignature
            );
            super::frames::check(&baton_protocol::frame::Frame::Refused(refused));
        }
    }
}

/// An access token whose header and claims are any bytes, made with the pool's own secret, so that its tag need not be guessed:
/// it is let in or refused, and what is let in ends and has a group that fits a ticket.
pub(crate) fn token(data: &[u8]) {
    let Some((first, claims)) = choice(data) else { return };
    let header: &[u8] = match first {
        0 => br#"{"alg":"HS256","typ":"JWT"}"#,
        // The claims alone are the token, whatever they are.
        1 => return admit_fresh(claims.to_vec()),
        // Both are the input's.
        length => &claims[..claims.len().min(length.into())],
    };
    let claims = if first > 1 { &claims[header.len()..] } else { claims };
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    let tag = tag(TOKEN_SECRET, signed.as_bytes());
    admit_fresh(format!("{signed}.{}", BASE64URL_NOPAD.encode(&tag)).into());
}

fn admit_fresh(token: Vec<u8>) {
    let mut hello = hello(Intent::Fresh);
    hello.token = token.into();
    hello::sign(&mut hello, &KEY, &EXPORTED);
    judge(&hello);
}

/// A ticket whose fields are any bytes, sealed with the pool's own key: it is read or refused, and one that was read is sealed
/// as the same fields.
pub(crate) fn ticket(data: &[u8]) {
    let sealed: Bytes = [data, &tag(&TICKET_KEY, data)].concat().into();
    let keys = [TicketKey::from_bytes(TICKET_KEY)];
    if let Ok(ticket) = Ticket::open(&sealed, &keys, NOW) {
        assert!(ticket.expires_unix > NOW && ticket.group.len() <= MAX_GROUP, "{ticket:?}");
        let again = ticket.seal(&keys[0]);
        assert!(again.len() <= sealed.len());
        assert_eq!(Ticket::open(&again, &keys, NOW), Ok(ticket));
    }
    let open = Ticket::open(&Bytes::copy_from_slice(data), &keys, NOW);
    assert!(open.is_err(), "a ticket that nobody sealed: {open:?}");
    let mut hello = hello(Intent::Resume);
    hello.ticket = sealed;
    hello::sign(&mut hello, &KEY, &EXPORTED);
    judge(&hello);
}

fn hello(intent: Intent) -> Hello {
    let peer: PeerId = hello::peer_of(&KEY);
    Hello {
        intent,
        peer,
        instance: Instance::from_bytes([0xaa; 16]),
        capabilities: 0,
        token: Bytes::new(),
        ticket: Bytes::new(),
        signature: [0; 64],
    }
}

fn tag(secret: &[u8], bytes: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key");
    mac.chain_update(bytes).finalize().into_bytes().to_vec()
}
