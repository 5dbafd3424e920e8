//! What the bytes of each frame are is in `protocol/vectors/frames.json`, which `protocol/tests/vectors` compares.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::class::FailureClass;
use crate::cutter::TooLong;
use crate::datagram::{FIRST_ALIAS, LAST_ALIAS};
use crate::id::{Instance, SessionId};

fn decode(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new();
    decoder.authenticated();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().transpose()).collect()
}

fn peers() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(PeerId::from_bytes)
}

fn aliases() -> impl Strategy<Value = u64> {
    FIRST_ALIAS..=LAST_ALIAS
}

fn stamps() -> impl Strategy<Value = Stamp> {
    any::<u64>().prop_map(Stamp::from_u64)
}

fn durations() -> impl Strategy<Value = Duration> {
    (0..1_u64 << 30).prop_map(Duration::from_millis)
}

fn sequences() -> impl Strategy<Value = u64> {
    0..=varint::MAX
}

fn opaque(limit: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

fn route_ids() -> impl Strategy<Value = Vec<RouteId>> {
    vec(any::<[u8; 17]>(), 0..=MAX_ROUTE_IDS)
}

fn hellos() -> impl Strategy<Value = Frame> {
    (
        prop::sample::select(&Intent::ALL[..]),
        (peers(), any::<[u8; 16]>(), sequences()),
        (opaque(MAX_TOKEN), opaque(MAX_TICKET)),
        vec(any::<u8>(), 64),
    )
        .prop_map(|(intent, (peer, instance, capabilities), (token, ticket), signature)| {
            Frame::Hello(Box::new(Hello {
                intent,
                peer,
                instance: Instance::from_bytes(instance),
                capabilities,
                token,
                ticket,
                signature: signature.try_into().unwrap(),
            }))
        })
}

fn welcomes() -> impl Strategy<Value = Frame> {
    (
        (any::<u64>(), any::<u32>(), any::<u32>(), stamps(), any::<std::net::SocketAddr>()),
        (sequences(), sequences(), sequences()),
        (durations(), durations(), opaque(MAX_TICKET), route_ids()),
    )
        .prop_map(
            |(
                (session, relay, epoch, stamp, mut observed),
                (max_datagram, max_routes, max_watches),
                rest,
            )| {
                let (idle, keep_alive, ticket, route_ids) = rest;
                observed = std::net::SocketAddr::new(observed.ip().to_canonical(), observed.port());
                Frame::Welcome(Box::new(Welcome {
                    session: SessionId::from_u64(session),
                    relay: RelayId::from_u32(relay),
                    epoch,
                    stamp,
                    observed,
                    max_datagram,
                    max_routes,
                    max_watches,
                    idle,
                    keep_alive,
                    ticket,
                    route_ids,
                }))
            },
        )
}

fn refusals() -> impl Strategy<Value = Refused> {
    let retry = option::of(option::of(durations())).prop_map(|retry| match retry {
        None => Retry::Never,
        Some(None) => Retry::Fresh,
        Some(Some(delay)) => Retry::After(delay),
    });
    (prop::sample::select(RefusalCode::ALL), retry, "[a-zA-Zäöü ]{0,100}")
        .prop_map(|(code, retry, message)| Refused { code, retry, message })
}

fn goaways() -> impl Strategy<Value = Frame> {
    (
        sequences(),
        prop::sample::select(&GoAwayReason::ALL[..]),
        durations(),
        durations(),
        route_ids(),
        opaque(MAX_TICKET),
    )
        .prop_map(|(sequence, reason, deadline, reconnect_after, route_ids, ticket)| {
            let deadline = deadline.max(Duration::from_millis(1));
            Frame::GoAway(Box::new(GoAway {
                sequence,
                reason,
                deadline,
                reconnect_after,
                route_ids,
                ticket,
            }))
        })
}

fn frames() -> impl Strategy<Value = Frame> {
    let states = prop_oneof![Just(PeerState::Offline), Just(PeerState::Online)];
    prop_oneof![
        hellos(),
        welcomes(),
        refusals().prop_map(Frame::Refused),
        refusals().prop_map(Frame::RenewRefused),
        goaways(),
        (aliases(), peers()).prop_map(|(alias, peer)| Frame::Open { alias, peer }),
        aliases().prop_map(|alias| Frame::Opened { alias }),
        aliases().prop_map(|alias| Frame::Shut { alias }),
        (aliases(), peers()).prop_map(|(alias, peer)| Frame::Sender { alias, peer }),
        aliases().prop_map(|alias| Frame::SenderOk { alias }),
        (aliases(), prop::sample::select(&NoticeCode::ALL[..]))
            .prop_map(|(alias, code)| Frame::Notice { alias, code }),
        peers().prop_map(|peer| Frame::Watch { peer }),
        peers().prop_map(|peer| Frame::Unwatch { peer }),
        (sequences(), peers(), states).prop_map(|(sequence, peer, state)| Frame::Presence {
            sequence,
            peer,
            state
        }),
        Just(Frame::Resync),
        sequences().prop_map(|sequence| Frame::GoAwayAck { sequence }),
        sequences().prop_map(|sequence| Frame::GoAwayCancel { sequence }),
        Just(Frame::Active),
        stamps().prop_map(|stamp| Frame::ActiveOk { stamp }),
        (stamps(), any::<u32>())
            .prop_map(|(stamp, relay)| Frame::Moved { stamp, relay: RelayId::from_u32(relay) }),
        Just(Frame::MovedOk),
        opaque(MAX_TICKET).prop_map(|ticket| Frame::Reclaim { ticket }),
        peers().prop_map(|peer| Frame::RouteRefreshed { peer }),
        sequences().prop_map(|known| Frame::Capabilities { known }),
        (stamps(), opaque(MAX_TICKET))
            .prop_map(|(stamp, ticket)| Frame::Reclaimed { stamp, ticket }),
        (prop::sample::select(LimitKind::ALL), sequences())
            .prop_map(|(kind, allowed)| Frame::Limited(Limited { kind, allowed })),
        route_ids().prop_map(|ids| Frame::Probes { ids }),
        (1..=varint::MAX, option::of(prop::sample::select(&FailureClass::ALL[..])), durations())
            .prop_map(|(attempt, failed, took)| {
                Frame::PathReport(PathReport { attempt, failed, took })
            }),
        prop::sample::select(&PolicyMode::ALL[..]).prop_map(|mode| Frame::Policy { mode }),
        (prop::sample::select(&RuleVerb::ALL[..]), vec(peers(), 0..=MAX_RULED))
            .prop_map(|(verb, peers)| Frame::Rule(Rule { verb, peers })),
        option::of(sequences()).prop_map(|allowed| {
            Frame::Ruled(allowed.map_or(Ruled::Kept, |allowed| Ruled::TooMany { allowed }))
        }),
        peers().prop_map(|peer| Frame::Knock { peer }),
        peers().prop_map(|peer| Frame::Stranger { peer }),
        opaque(MAX_TOKEN).prop_map(|token| Frame::Renew { token: Token(token) }),
        (any::<u64>(), opaque(MAX_TICKET))
            .prop_map(|(expires_unix, ticket)| Frame::Renewed(Renewed { expires_unix, ticket })),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(frame in frames()) {
        prop_assert_eq!(decode(&frame.encode()), Ok(vec![frame]));
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut(frames in vec(frames(), 1..5), cuts in vec(1_usize..200, 1..20)) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
        let mut decoder = Decoder::new();
        decoder.authenticated();
        let mut rest = &bytes[..];
        let mut cuts = cuts.iter().cycle();
        let mut decoded = Vec::new();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            decoder.push(now);
            while let Some(frame) = decoder.next_frame().unwrap() {
                decoded.push(frame);
            }
            rest = later;
        }
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_body_that_is_cut_or_has_more_is_an_error(frame in frames(), cut in any::<prop::sample::Index>()) {
        let encoded = frame.encode();
        let (number, type_length) = varint::read(&encoded).unwrap();
        let (length, length_length) = varint::read(&encoded[type_length..]).unwrap();
        let body = encoded.slice(type_length + length_length..);
        let mut longer = BytesMut::from(&body[..]);
        longer.put_u8(0);
        prop_assert!(Frame::read(number, longer.freeze()).is_err());
        if length > 0 {
            prop_assert!(Frame::read(number, body.slice(..cut.index(body.len()))).is_err());
        }
    }
}

#[test]
fn a_long_frame_is_refused_before_its_body_comes() {
    let mut decoder = Decoder::new();
    let mut bytes = Vec::new();
    varint::write(number::HELLO, &mut bytes);
    varint::write(MAX_BODY_UNAUTHENTICATED as u64 + 1, &mut bytes);
    decoder.push(&bytes);
    assert_eq!(
        decoder.next_frame(),
        Err(FrameError::TooLong(TooLong { length: 4097, limit: 4096 }))
    );

    let mut decoder = Decoder::new();
    decoder.authenticated();
    decoder.push(&bytes);
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn unknown_frames_are_skipped_only_where_that_is_allowed() {
    let active = Frame::Active.encode();
    assert_eq!(decode(&[&[0x40, 0x40, 2, 9, 9], &active[..]].concat()), Ok(vec![Frame::Active]));
    assert_eq!(
        decode(&[&[0x3f, 0], &active[..]].concat()),
        Err(FrameError::Unknown { number: 0x3f })
    );
}

#[test]
fn a_goaway_without_time_is_an_error() {
    let goaway = GoAway {
        sequence: 1,
        reason: GoAwayReason::Rollout,
        deadline: Duration::ZERO,
        reconnect_after: Duration::ZERO,
        route_ids: vec![],
        ticket: Bytes::new(),
    };
    let error = decode(&Frame::GoAway(Box::new(goaway)).encode()).unwrap_err();
    assert_eq!(
        error,
        FrameError::Body { name: "GOAWAY", source: WireError::Value { field: "deadline" } }
    );
}

#[test]
fn a_refusal_is_cut_between_letters() {
    let refused =
        Refused { code: RefusalCode::Full, retry: Retry::Never, message: "ä".repeat(200) };
    let bytes = Frame::Refused(refused.clone()).encode();
    assert_eq!(
        decode(&bytes),
        Ok(vec![Frame::Refused(Refused { message: "ä".repeat(128), ..refused })])
    );
}

#[test]
fn a_printed_frame_shows_no_token_and_no_ticket() {
    let secret = Bytes::from_static(b"s3cr3t");
    let renewed = Renewed { expires_unix: 1, ticket: secret.clone() };
    for frame in [Frame::Renew { token: Token(secret) }, Frame::Renewed(renewed)] {
        let shown = format!("{frame:?}");
        assert!(!shown.contains("s3cr3t") && !shown.contains("115, 51"), "{shown}");
    }
}
