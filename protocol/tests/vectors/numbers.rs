//! `numbers.json`: every number that has a name, and the limits of the wire.

use std::time::Duration;

use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::frame::{
    CAPABILITY_PATHS, CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, CAPABILITY_RECLAIM,
    CAPABILITY_STREAMS, FIRST_SKIPPABLE, GoAwayReason, Intent, LimitKind, MAX_BODY,
    MAX_BODY_UNAUTHENTICATED, MAX_ROUTE_IDS, MAX_RULED, MAX_TICKET, MAX_TOKEN, NoticeCode,
    PeerState, PolicyMode, RefusalCode, RuleVerb, TYPES,
};
use baton_protocol::liveness::{IDLE_TIMEOUT, KEEP_ALIVE};
use baton_protocol::policy::MAX_NAMES;
use baton_protocol::session::Limits;
use baton_protocol::ticket::MAX_GROUP;
use baton_protocol::{ALPN, ALPN_END_TO_END, HELLO_TIMEOUT, datagram};
use serde_json::{Value, json};

use crate::compare;

fn named<'a>(pairs: impl IntoIterator<Item = (&'a str, u64)>) -> Value {
    pairs
        .into_iter()
        .map(|(name, number)| (name.to_owned(), Value::from(number)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn the_numbers_are_these() {
    let limits = Limits::default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    compare(
        "numbers.json",
        &json!({
            "about": "Numbers with names: docs/protocol.md, sections 2, 5, 6, 9, 16 and 17",
            "alpn": text(ALPN),
            "alpn_end_to_end": text(ALPN_END_TO_END),
            "frames": named(TYPES.iter().map(|(number, name)| (*name, *number))),
            "close_codes": named(CloseCode::ALL.map(|code| (code.name(), code.code().into()))),
            "refusal_codes": named(RefusalCode::ALL.iter().map(|code| (code.name(), code.number().into()))),
            "notice_codes": named(NoticeCode::ALL.map(|code| (notice(code), code.number().into()))),
            "limit_kinds": named(LimitKind::ALL.iter().map(|kind| (kind.name(), kind.number().into()))),
            "policy_modes": named(PolicyMode::ALL.map(|mode| (mode.name(), mode.number().into()))),
            "rule_verbs": named(RuleVerb::ALL.map(|verb| (verb.name(), verb.number().into()))),
            "capabilities": named([
                ("streams", CAPABILITY_STREAMS),
                ("reclaim", CAPABILITY_RECLAIM),
                ("paths", CAPABILITY_PATHS),
                ("policies", CAPABILITY_POLICIES),
                ("policy_first", CAPABILITY_POLICY_FIRST),
            ]),
            "goaway_reasons": named(GoAwayReason::ALL.map(|reason| (reason.name(), reason.number().into()))),
            "intents": named(Intent::ALL.map(|intent| (intent.name(), intent.number().into()))),
            "states": named([("offline", PeerState::Offline), ("online", PeerState::Online)].map(|(name, state)| (name, state.number().into()))),
            "failure_classes": named(FailureClass::ALL.map(|class| (class.name(), class.number().into()))),
            "limits": {
                "body_before_welcome": MAX_BODY_UNAUTHENTICATED,
                "body": MAX_BODY,
                "token": MAX_TOKEN,
                "ticket": MAX_TICKET,
                "group": MAX_GROUP,
                "route_ids": MAX_ROUTE_IDS,
                "first_skippable": FIRST_SKIPPABLE,
                "first_alias": datagram::FIRST_ALIAS,
                "last_alias": datagram::LAST_ALIAS,
                "payload": datagram::MAX_PAYLOAD,
                "routes": limits.routes,
                "watches": limits.watches,
                "senders": limits.senders,
                "names": MAX_NAMES,
                "ruled": MAX_RULED,
                "hello_timeout_ms": milliseconds(HELLO_TIMEOUT),
                "keep_alive_ms": milliseconds(KEEP_ALIVE),
                "idle_ms": milliseconds(IDLE_TIMEOUT),
            },
        }),
    );
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap()
}

/// The names of docs/protocol.md, section 9.
fn notice(code: NoticeCode) -> &'static str {
    match code {
        NoticeCode::Offline => "offline",
        NoticeCode::GoingAway => "going_away",
        NoticeCode::TooMany => "too_many",
    }
}
