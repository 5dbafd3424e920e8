use baton_protocol::id::Instance;
use baton_protocol::token::LEEWAY_SECONDS;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a shared secret of thirty-two bytes, or more";
const PEER: PeerId = PeerId::from_bytes([1; 32]);
const NOW: u64 = 4_000_000_000;

fn gate() -> Gate {
    let keys = TokenKeys::from_secrets(&[b"an older secret that is still being exchanged", SECRET]);
    gate_of(Mode::Token(keys))
}

fn gate_of(mode: Mode) -> Gate {
    Gate::new(mode, "ns/edge".into(), tickets(0))
}

fn tickets(epoch: u32) -> Tickets {
    Tickets { keys: vec![TicketKey::from_bytes([7; 32])], epoch }
}

fn listed(group: &str) -> Mode {
    Mode::Allowlist(Allowlist::from_iter([(PEER, group.to_owned())]))
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
    Admission { group: group.into(), expires_unix, open: false, known: None, epoch: 0, window: 0 }
}

fn whose(hello: &Hello) -> Whose {
    Whose { peer: hello.peer, instance: hello.instance }
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
            json!({"aud": "ns/edge", "exp": NOW, "nbf": NOW + 31}),
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
    let ticket = gate().ticket(whose(&fresh), &admission, Stamp::from_u64(5), 0);
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
fn a_ticket_says_what_its_way_takes_and_of_which_rules_it_is() {
    let (gate, fresh) = (gate(), hello(Bytes::new()));
    let ticket = |epoch| {
        let admission = Admission { epoch, ..admission("team", NOW + 60) };
        gate.ticket(whose(&fresh), &admission, Stamp::from_u64(5), 70_000)
    };
    let [old, new] = [3, 4].map(|epoch| Hello {
        intent: Intent::Resume,
        ticket: ticket(epoch),
        ..fresh.clone()
    });
    let admitted = gate.admit(&new, NOW).unwrap();
    assert_eq!(
        (admitted.window, admitted.epoch),
        (70_000, 4),
        "a relay may hear of new rules late"
    );
    let mode = || Mode::Token(TokenKeys::from_secrets(&[&[9; 32]]));
    gate.replace(mode(), tickets(4));
    assert!(gate.admit(&new, NOW).is_ok());
    let refused = gate.admit(&old, NOW).unwrap_err();
    assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
}

#[test]
fn who_came_without_a_token_stays_until_tokens_are_demanded() {
    let fresh = hello(Bytes::new());
    let open = gate_of(Mode::Open);
    let admitted = open.admit(&fresh, NOW).unwrap();
    assert_eq!((admitted.expires_unix, admitted.open), (NEVER, true));
    let ticket = open.ticket(whose(&fresh), &admitted, Stamp::from_u64(5), 0);
    let resume = Hello { intent: Intent::Resume, ticket, ..fresh };
    assert!(open.admit(&resume, NOW + 365 * 24 * 3600).is_ok());
    let refused = gate().admit(&resume, NOW).unwrap_err();
    assert_eq!((refused.code, refused.retry), (RefusalCode::TicketInvalid, Retry::Fresh));
}

#[test]
fn an_allowlist_is_asked_again_at_every_attachment() {
    let gate = gate_of(listed("team"));
    let fresh = hello(Bytes::new());
    let admitted = gate.admit(&fresh, NOW).unwrap();
    assert_eq!((admitted.group.as_str(), admitted.expires_unix), ("team", NEVER));
    let ticket = gate.ticket(whose(&fresh), &admitted, Stamp::from_u64(5), 0);
    let resume = Hello { intent: Intent::Resume, ticket, ..fresh.clone() };
    assert_eq!(gate.admit(&resume, NOW).unwrap().group, "team");

    gate.replace(listed("other"), tickets(0));
    assert_eq!(gate.admit(&resume, NOW).unwrap().group, "other", "not what the ticket says");
    gate.replace(Mode::Allowlist(Allowlist::default()), tickets(0));
    for hello in [&fresh, &resume] {
        let refused = gate.admit(hello, NOW).unwrap_err();
        assert_eq!((refused.code, refused.retry), (RefusalCode::NotAllowed, Retry::Never));
    }
    let token = token(&json!({"aud": "ns/edge", "exp": NOW}));
    assert_eq!(gate.admit(&hello(token), NOW).unwrap_err().code, RefusalCode::NotAllowed);
}

#[test]
fn new_rules_send_away_who_is_listed_no_more_and_nobody_whose_token_was_good() {
    let gate = gate();
    let good = admission("team", NOW + 60);
    let before = gate.generation();
    gate.replace(Mode::Token(TokenKeys::from_secrets(&[&[9; 32]])), tickets(0));
    assert_ne!(gate.generation(), before);
    assert!(gate.still_admits(&PEER, &good), "its key is gone, its time is not over");
    let refused = gate.admit(&hello(token(&json!({"aud": "ns/edge", "exp": NOW}))), NOW);
    assert_eq!(refused.unwrap_err().code, RefusalCode::TokenInvalid);

    for (mode, stays) in [(listed("team"), true), (listed("other"), false)] {
        gate.replace(mode, tickets(0));
        assert_eq!(gate.still_admits(&PEER, &good), stays);
        assert!(!gate.still_admits(&PeerId::from_bytes([3; 32]), &good));
    }
}

#[test]
fn a_renewal_is_for_the_same_peer_group_and_pool_and_never_shortens() {
    let had = Admission { known: Some(Stamp::from_u64(5)), ..admission("team", NOW + 60) };
    let renewed = |claims: Value| gate().renew(&PEER, &had, &token(&claims), NOW);
    let mine = PEER.to_string();
    let good = json!({"aud": "ns/edge", "exp": NOW + 600, "sub": mine, "grp": "team"});
    let longer = Admission { expires_unix: NOW + 600 + LEEWAY_SECONDS, ..had.clone() };
    assert_eq!(renewed(good.clone()), Ok(longer));
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    assert_eq!(renewed(with("exp", json!(NOW))), Ok(had.clone()));
    let other = PeerId::from_bytes([9; 32]).to_string();
    let table = [
        (with("sub", json!(other)), RefusalCode::TokenInvalid, "another peer's"),
        (with("grp", json!("other")), RefusalCode::TokenInvalid, "another group"),
        (with("grp", Value::Null), RefusalCode::TokenInvalid, "another group"),
        (with("aud", json!("ns/other")), RefusalCode::TokenInvalid, "another pool"),
        (with("exp", json!(NOW - 60)), RefusalCode::TokenExpired, "has expired"),
    ];
    for (claims, code, message) in table {
        let refused = renewed(claims).unwrap_err();
        assert_eq!((refused.code, refused.retry), (code, Retry::Never), "{refused:?}");
        assert!(refused.message.contains(message), "{refused:?}");
    }
    let nothing = gate().renew(&PEER, &had, b"", NOW).unwrap_err();
    assert_eq!(nothing.code, RefusalCode::TokenRequired);
    let open = gate_of(Mode::Open).renew(&PEER, &had, &token(&good), NOW).unwrap_err();
    assert!(open.message.contains("no access tokens"), "{open:?}");
}

/// The tokens of docs/protocol.md's test vectors, with what is said to each there.
#[test]
fn the_tokens_of_the_vectors_are_judged_as_they_say() {
    let vectors = include_str!("../../../protocol/vectors/tokens.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = TokenKeys::from_secrets(&[text(&vectors["secret"]).as_bytes()]);
    let gate = Gate::new(
        Mode::Token(keys),
        text(&vectors["audience"]),
        Tickets { keys: vec![], epoch: 0 },
    );
    let judge = |vector: &Value| {
        let peer = text(&vectors["peer"]).parse().unwrap();
        gate.admit(&Hello { peer, ..hello(text(&vector["token"]).into()) }, 1_500_000_000)
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

#[test]
fn who_waits_as_long_as_it_is_told_is_not_too_soon_again() {
    let told = |wait| match too_soon(wait).retry {
        Retry::After(told) => told,
        other => panic!("{other:?}"),
    };
    let milliseconds = Duration::from_millis;
    assert_eq!(told(Duration::from_micros(998_400)), milliseconds(999));
    assert_eq!(told(Duration::from_nanos(1_000_001)), milliseconds(2));
    assert_eq!(told(milliseconds(1000)), milliseconds(1000));
    assert_eq!(told(Duration::ZERO), milliseconds(1), "not at once");
}
