//! `frames.json`: each frame with its bytes and fields; bytes that are none, with the error; what is skipped or waited for.

use std::time::Duration;

use baton_protocol::class::FailureClass;
use baton_protocol::datagram::{FIRST_ALIAS, LAST_ALIAS};
use baton_protocol::frame::{
    CAPABILITY_PATHS, CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, CAPABILITY_RECLAIM,
    CAPABILITY_STREAMS, Decoder, Frame, FrameError, GoAway, GoAwayReason, Hello, Intent, LimitKind,
    Limited, MAX_BODY, MAX_BODY_UNAUTHENTICATED, MAX_ROUTE_IDS, MAX_RULED, MAX_TICKET, MAX_TOKEN,
    NoticeCode, PeerState, PolicyMode, RefusalCode, Refused, Renewed, Retry, Rule, RuleVerb, Ruled,
    TYPES, Token, Welcome,
};
use baton_protocol::id::{Instance, PeerId, RelayId, SessionId, Stamp};
use baton_protocol::path::probe::MARK;
use baton_protocol::path::report::PathReport;
use baton_protocol::varint;
use baton_protocol::wire::WireError;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{compare, fields, hex, peer};

/// Every frame at least once, and every value of every field that has names for its values.
pub(crate) fn examples() -> Vec<(&'static str, Frame)> {
    let ticket = Bytes::from_static(b"ticket");
    let hello = Hello {
        intent: Intent::Resume,
        peer: peer(),
        instance: Instance::from_bytes([0xaa; 16]),
        capabilities: 0,
        token: Bytes::from_static(b"tok"),
        ticket: ticket.clone(),
        signature: [0xbb; 64],
    };
    let empty = Bytes::new();
    let fresh = Hello { intent: Intent::Fresh, ticket: empty.clone(), ..hello.clone() };
    let handover = Hello { intent: Intent::Handover, token: empty, ..hello.clone() };
    let welcome = Welcome {
        session: SessionId::from_u64(7),
        relay: RelayId::from_u32(0xdead_beef),
        epoch: 3,
        stamp: Stamp::from_u64(9),
        observed: "192.0.2.1:4443".parse().unwrap(),
        max_datagram: 1200,
        max_routes: 256,
        max_watches: 1024,
        idle: Duration::from_secs(60),
        keep_alive: Duration::from_secs(12),
        ticket: ticket.clone(),
        route_ids: vec![[0x11; 17]],
    };
    let welcome_v6 = Welcome {
        observed: "[2001:db8::1]:65535".parse().unwrap(),
        route_ids: vec![],
        ..welcome.clone()
    };
    let goaway = |reason| {
        Frame::GoAway(Box::new(GoAway {
            sequence: 1,
            reason,
            deadline: Duration::from_secs(60),
            reconnect_after: Duration::from_millis(100),
            route_ids: vec![],
            ticket: Bytes::from_static(b"ticket"),
        }))
    };
    let mut probe_id = [0x11; 17];
    probe_id[0] = MARK;
    let report = |failed| {
        let took = Duration::from_secs(3);
        Frame::PathReport(PathReport { attempt: 7, failed, took })
    };
    let mut examples = vec![
        (
            "with a token and a ticket, though one of them is not looked at",
            Frame::Hello(Box::new(hello)),
        ),
        ("fresh", Frame::Hello(Box::new(fresh))),
        ("handover", Frame::Hello(Box::new(handover))),
        ("to an IPv4 client", Frame::Welcome(Box::new(welcome))),
        ("to an IPv6 client", Frame::Welcome(Box::new(welcome_v6))),
        ("the smallest alias", Frame::Open { alias: FIRST_ALIAS, peer: peer() }),
        ("the largest alias", Frame::Open { alias: LAST_ALIAS, peer: peer() }),
        ("", Frame::Opened { alias: 16 }),
        ("an alias of two bytes", Frame::Shut { alias: 64 }),
        ("", Frame::Sender { alias: 16, peer: peer() }),
        ("", Frame::SenderOk { alias: 16 }),
        ("", Frame::Watch { peer: peer() }),
        ("", Frame::Unwatch { peer: peer() }),
        ("online", Frame::Presence { sequence: 1, peer: peer(), state: PeerState::Online }),
        ("offline", Frame::Presence { sequence: 16384, peer: peer(), state: PeerState::Offline }),
        ("", Frame::Resync),
        ("", Frame::GoAwayAck { sequence: 1 }),
        ("", Frame::GoAwayCancel { sequence: 1 }),
        ("", Frame::Active),
        ("", Frame::ActiveOk { stamp: Stamp::from_u64(9) }),
        ("", Frame::Moved { stamp: Stamp::from_u64(9), relay: RelayId::from_u32(1) }),
        ("", Frame::MovedOk),
        ("", Frame::Reclaim { ticket: ticket.clone() }),
        ("", Frame::Reclaimed { stamp: Stamp::from_u64(9), ticket: ticket.clone() }),
        ("streams", Frame::Capabilities { known: CAPABILITY_STREAMS }),
        ("reclaim", Frame::Capabilities { known: CAPABILITY_RECLAIM }),
        ("policies", Frame::Capabilities { known: CAPABILITY_POLICIES }),
        ("policy_first", Frame::Capabilities { known: CAPABILITY_POLICY_FIRST }),
        ("", Frame::Knock { peer: peer() }),
        ("", Frame::Stranger { peer: peer() }),
        ("kept", Frame::Ruled(Ruled::Kept)),
        ("too many", Frame::Ruled(Ruled::TooMany { allowed: 1024 })),
        ("", Frame::Renew { token: Token(Bytes::from_static(b"tok")) }),
        ("", Frame::Renewed(Renewed { expires_unix: 4_000_000_030, ticket })),
        ("", Frame::RouteRefreshed { peer: peer() }),
        ("paths", Frame::Capabilities { known: CAPABILITY_PATHS }),
        ("", Frame::Probes { ids: vec![probe_id] }),
        ("a success", report(None)),
    ];
    let refused = |code, retry, message: &str| {
        Frame::Refused(Refused { code, retry, message: message.into() })
    };
    let too_soon = Refused {
        code: RefusalCode::TooSoon,
        retry: Retry::After(Duration::from_millis(5)),
        message: "x".into(),
    };
    examples.push(("after 5 ms", Frame::RenewRefused(too_soon)));
    let after = Retry::After(Duration::from_millis(5));
    examples.push(("after 5 ms", refused(RefusalCode::Draining, after, "x")));
    examples.push(("fresh", refused(RefusalCode::TicketInvalid, Retry::Fresh, "")));
    for code in RefusalCode::ALL {
        examples.push((code.name(), refused(*code, Retry::Never, "é")));
    }
    examples.extend(GoAwayReason::ALL.map(|reason| (reason.name(), goaway(reason))));
    examples.extend(PolicyMode::ALL.map(|mode| (mode.name(), Frame::Policy { mode })));
    let rule = |verb, peers| Frame::Rule(Rule { verb, peers });
    examples.extend(RuleVerb::ALL.map(|verb| (verb.name(), rule(verb, vec![peer()]))));
    examples.push(("nobody", rule(RuleVerb::Allow, vec![])));
    examples.push(("two", rule(RuleVerb::Unblock, vec![peer(), PeerId::from_bytes([0xcc; 32])])));
    let limited = |kind| Frame::Limited(Limited { kind, allowed: 1000 });
    examples.extend(LimitKind::ALL.iter().map(|kind| (kind.name(), limited(*kind))));
    examples.extend(FailureClass::ALL.map(|class| (class.name(), report(Some(class)))));
    examples.extend(NoticeCode::ALL.map(|code| ("", Frame::Notice { alias: 16, code })));
    examples
}

/// Bytes that are no frame: what they are, whether WELCOME was sent, the bytes.
fn mistakes() -> Vec<(&'static str, bool, Vec<u8>)> {
    let peer = peer();
    let peer = peer.as_bytes();
    let hello = |intent: u8, token: usize, ticket: usize| {
        let mut body = vec![intent];
        body.extend_from_slice(peer);
        body.extend_from_slice(&[0xaa; 16]);
        body.push(0);
        for length in [token, ticket] {
            varint::write(length as u64, &mut body);
            body.resize(body.len() + length, b'x');
        }
        body.extend_from_slice(&[0xbb; 64]);
        frame(0x01, &body)
    };
    let welcome = |address: &[u8], idle: &[u8], routes: &[u8]| {
        frame(0x02, &[&[0; 24], address, &[0, 0, 0], idle, &[0, 0], routes].concat())
    };
    let refused = |code: u8, rest: &[u8]| frame(0x03, &[&[code], rest].concat());
    let goaway = |reason: u8, rest: &[u8]| frame(0x10, &[&[1, reason], rest].concat());
    let (v4, minute) = (&[4, 192, 0, 2, 1, 0x11, 0x5b][..], &[0x80, 0, 0xea, 0x60][..]);
    let hour_too_long = &[0xc0, 0, 0, 0, 0x40, 0, 0, 1][..];
    let long_text = [&[1, 0, 0x41, 1][..], &[b'x'; 257]].concat();
    let mut mistakes = vec![
        ("an unknown type that must not be skipped", true, vec![0x3f, 0]),
        ("the type 0", true, vec![0, 0]),
        ("the unused type 0x0e", true, vec![0x0e, 0]),
        ("a body of 4097 bytes before WELCOME", false, vec![0x01, 0x50, 0x01]),
        ("a body of 16385 bytes", true, vec![0x10, 0x80, 0, 0x40, 0x01]),
        (
            "a body longer than any memory",
            true,
            vec![0x40, 0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("HELLO with intent 3", false, hello(3, 0, 0)),
        ("HELLO with a token of 2049 bytes", false, hello(0, MAX_TOKEN + 1, 0)),
        ("HELLO with a ticket of 513 bytes", false, hello(1, 0, MAX_TICKET + 1)),
        ("WELCOME with address family 5", true, welcome(&[5, 1, 2, 3, 4, 0, 1], minute, &[])),
        ("WELCOME with an idle timeout of 2^30 + 1 ms", true, welcome(v4, hour_too_long, &[])),
        ("WELCOME with 17 route ids", true, welcome_with_route_ids(MAX_ROUTE_IDS + 1)),
        (
            "WELCOME whose only route id is cut short",
            true,
            frame(0x02, &[&[0; 24], v4, &[0, 0, 0, 0, 0, 0, 1], &[0x11; 16]].concat()),
        ),
        ("REFUSED with code 0", true, refused(0, &[0, 0])),
        ("REFUSED with code 11", true, refused(11, &[0, 0])),
        ("REFUSED with retry 3", true, refused(1, &[3, 0])),
        ("REFUSED after a time that does not come", true, refused(1, &[1])),
        ("REFUSED with a message that is no UTF-8", true, refused(1, &[0, 1, 0xff])),
        ("REFUSED with a message of 257 bytes", true, frame(0x03, &long_text)),
        ("OPEN with alias 15", true, frame(0x04, &[&[15], &peer[..]].concat())),
        (
            "OPEN with alias 2^30",
            true,
            frame(0x04, &[&[0xc0, 0, 0, 0, 0x40, 0, 0, 0], &peer[..]].concat()),
        ),
        ("SENDER_OK with alias 0", true, frame(0x08, &[0])),
        ("NOTICE with code 0", true, frame(0x09, &[16, 0])),
        ("NOTICE with code 4", true, frame(0x09, &[16, 4])),
        ("LIMITED with kind 0", true, frame(0x41, &[0, 1])),
        ("LIMITED with kind 9", true, frame(0x41, &[9, 1])),
        ("PROBES with 17 ids", true, {
            let ids = [0x11; 17 * (MAX_ROUTE_IDS + 1)];
            frame(0x43, &[&[17], &ids[..]].concat())
        }),
        ("PATH_REPORT of attempt 0", true, frame(0x53, &[0, 0, 0])),
        ("PATH_REPORT with class 16", true, frame(0x53, &[1, 16, 0])),
        ("POLICY with mode 3", true, frame(0x54, &[3])),
        ("RULE with verb 4", true, frame(0x55, &[4, 0])),
        ("RULE of 257 peers", true, {
            let mut body = vec![2];
            varint::write(MAX_RULED as u64 + 1, &mut body);
            body.resize(body.len() + 32 * (MAX_RULED + 1), 0xcc);
            frame(0x55, &body)
        }),
        ("RULE of two peers, of whom one comes", true, frame(0x55, &[&[2, 2], &peer[..]].concat())),
        ("RULED with result 2", true, frame(0x45, &[2])),
        ("RULED with a number of names where nothing was too much", true, frame(0x45, &[0, 1])),
        ("PRESENCE with state 2", true, frame(0x0c, &[&[1], &peer[..], &[2]].concat())),
        ("GOAWAY with reason 4", true, goaway(4, &[1, 1, 0, 0])),
        ("GOAWAY without time", true, goaway(0, &[0, 0, 0, 0])),
        (
            "GOAWAY with a slot after 2^30 + 1 ms",
            true,
            goaway(0, &[&[1][..], hour_too_long, &[0, 0]].concat()),
        ),
        ("RENEW with a token of 2049 bytes", true, {
            let mut body = Vec::new();
            varint::write(MAX_TOKEN as u64 + 1, &mut body);
            body.resize(body.len() + MAX_TOKEN + 1, b'x');
            frame(0x50, &body)
        }),
        ("RECLAIM with a ticket of 513 bytes", true, {
            let mut body = Vec::new();
            varint::write(MAX_TICKET as u64 + 1, &mut body);
            body.resize(body.len() + MAX_TICKET + 1, b'x');
            frame(0x17, &body)
        }),
    ];
    // Whatever frame: its last byte missing, and a byte too many.
    for (number, name) in TYPES {
        let (_, example) =
            examples().into_iter().find(|(_, frame)| frame.number() == *number).unwrap();
        let whole = example.encode();
        let body = &whole[head(&whole)..];
        if let Some((_, cut)) = body.split_last() {
            mistakes.push((name, true, frame(*number, cut)));
        }
        mistakes.push((name, true, frame(*number, &[body, &[0]].concat())));
    }
    mistakes
}

fn welcome_with_route_ids(count: usize) -> Vec<u8> {
    let v4 = [4, 192, 0, 2, 1, 0x11, 0x5b];
    let mut body = [&[0; 24], &v4[..], &[0, 0, 0, 0, 0, 0]].concat();
    body.push(u8::try_from(count).unwrap());
    body.resize(body.len() + 17 * count, 0x11);
    frame(0x02, &body)
}

fn frame(number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(number, &mut out);
    varint::write(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

/// Length of type and length.
fn head(frame: &[u8]) -> usize {
    let (_, number) = varint::read(frame).unwrap();
    number + varint::read(&frame[number..]).unwrap().1
}

fn decode(bytes: &[u8], authenticated: bool) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new();
    if authenticated {
        decoder.authenticated();
    }
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().transpose()).collect()
}

/// The error as docs/protocol.md names it.
fn kind(error: &FrameError) -> &'static str {
    match error {
        FrameError::TooLong { .. } => "too_long",
        FrameError::Unknown { .. } => "unknown_type",
        FrameError::Body { source, .. } => match source {
            WireError::Short { .. } => "short",
            WireError::Value { .. } => "value",
            WireError::Trailing { .. } => "trailing",
        },
    }
}

fn vectors() -> Value {
    let frames: Vec<_> = examples()
        .iter()
        .map(|(what, frame)| {
            let (name, number) = (frame.name(), frame.number());
            let (bytes, fields) = (hex(frame.encode()), fields::of(frame));
            json!({"name": name, "what": what, "type": number, "bytes": bytes, "fields": fields})
        })
        .collect();
    let errors: Vec<_> = mistakes()
        .iter()
        .map(|(what, authenticated, bytes)| {
            let error = decode(bytes, *authenticated).expect_err(what);
            json!({"what": what, "after_welcome": authenticated, "bytes": hex(bytes), "error": kind(&error)})
        })
        .collect();
    // Not the shortest form of a varint, which writers avoid and readers take: type, length, alias.
    let long_forms = [
        ("4005 01 10", "a type of two bytes"),
        ("05 80000001 10", "a length of four bytes"),
        ("05 08 c000000000000010", "an alias of eight bytes"),
    ]
    .map(|(bytes, what)| {
        json!({"what": what, "name": "OPENED", "bytes": bytes.replace(' ', ""), "fields": {"alias": 16}})
    });
    let opened = hex(Frame::Opened { alias: 16 }.encode());
    json!({
        "about": "Frames of the control stream: docs/protocol.md, sections 4 and 5",
        "frames": frames,
        "long_forms": long_forms,
        "errors": errors,
        "skipped": [
            {"what": "an unknown type that may be skipped, then OPENED", "bytes": format!("40400209 09{opened}").replace(' ', "")},
            {"what": "the largest type, without a body, then OPENED", "bytes": format!("ffffffffffffffff00{opened}")},
        ],
        "incomplete": ["", "05", "0501", "4005", "0180", "8000000501", format!("40{}", &opened[..2])],
    })
}

#[test]
fn the_frames_are_these() {
    compare("frames.json", &vectors());
}

#[test]
fn every_type_of_frame_has_an_example() {
    let examples = examples();
    for (number, name) in TYPES {
        assert!(
            examples.iter().any(|(_, frame)| frame.number() == *number),
            "{name} has no example in protocol/tests/vectors/frames.rs"
        );
    }
}

#[test]
fn every_example_is_read_as_what_it_was_written_from() {
    for (what, frame) in examples() {
        assert_eq!(decode(&frame.encode(), true), Ok(vec![frame]), "{what}");
    }
}

#[test]
fn long_forms_are_read_and_what_may_be_skipped_is() {
    let opened = vec![Frame::Opened { alias: 16 }];
    let vectors = vectors();
    for group in ["long_forms", "skipped"] {
        for vector in vectors[group].as_array().unwrap() {
            let bytes = crate::unhex(&vector["bytes"]);
            assert_eq!(decode(&bytes, true).as_ref(), Ok(&opened), "{}", vector["what"]);
        }
    }
}

#[test]
fn what_is_incomplete_is_waited_for() {
    for bytes in vectors()["incomplete"].as_array().unwrap() {
        assert_eq!(decode(&crate::unhex(bytes), true), Ok(vec![]), "{bytes}");
    }
}

#[test]
fn bodies_as_long_as_may_be_are_waited_for() {
    for (authenticated, limit) in [(false, MAX_BODY_UNAUTHENTICATED), (true, MAX_BODY)] {
        let mut bytes = vec![0x01];
        varint::write(limit as u64, &mut bytes);
        assert_eq!(decode(&bytes, authenticated), Ok(vec![]));
    }
}
