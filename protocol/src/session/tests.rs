use super::*;
use crate::frame::{RefusalCode, Retry, RuleVerb};

const PEER: PeerId = PeerId::from_bytes([1; 32]);
const OTHER: PeerId = PeerId::from_bytes([2; 32]);
const STAMP: Stamp = Stamp::from_u64(7);
const RELAY: RelayId = RelayId::from_u32(9);

fn orders(session: &mut Session) -> Vec<Order> {
    std::iter::from_fn(|| session.poll_order()).collect()
}

fn home() -> Session {
    let mut session = Session::new(Intent::Fresh, Limits::default());
    assert_eq!(orders(&mut session), [Order::Announce]);
    session.announced(Intent::Fresh, STAMP);
    assert_eq!(orders(&mut session), []);
    session
}

fn go_away(reason: GoAwayReason) -> GoAwayOrder {
    GoAwayOrder {
        reason,
        deadline: Duration::from_secs(60),
        reconnect_after: Duration::ZERO,
        route_ids: vec![],
        ticket: Bytes::new(),
    }
}

fn sequences(orders: &[Order]) -> Vec<(&'static str, u64)> {
    let of = |order: &Order| match order {
        Order::Send(frame @ Frame::GoAway(goaway)) => Some((frame.name(), goaway.sequence)),
        Order::Send(frame @ Frame::GoAwayCancel { sequence }) => Some((frame.name(), *sequence)),
        _ => None,
    };
    orders.iter().filter_map(of).collect()
}

#[test]
fn a_handover_is_a_standby_until_it_is_active() {
    let mut session = Session::new(Intent::Handover, Limits::default());
    assert_eq!(orders(&mut session), []);
    assert!(!session.is_home());
    session.handle_frame(Frame::Active).unwrap();
    assert_eq!(orders(&mut session), [Order::Announce]);
    session.announced(Intent::Handover, STAMP);
    assert_eq!(orders(&mut session), [Order::Send(Frame::ActiveOk { stamp: STAMP })]);
    assert!(session.is_home());
}

#[test]
fn a_moved_session_forwards_and_opens_nothing() {
    let mut session = home();
    session.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
    assert_eq!(
        orders(&mut session),
        [Order::Moved { stamp: STAMP, relay: RELAY }, Order::Send(Frame::MovedOk)]
    );
    session.handle_frame(Frame::Open { alias: 16, peer: OTHER }).unwrap();
    assert_eq!(
        orders(&mut session),
        [Order::Send(Frame::Notice { alias: 16, code: NoticeCode::GoingAway })]
    );
}

#[test]
fn a_session_that_is_reclaimed_is_home_whatever_it_was_told_before() {
    let ticket = Bytes::from_static(b"of the failed one");
    let again = Bytes::from_static(b"again");
    let mut moved = home();
    moved.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
    orders(&mut moved);
    for mut session in [home(), moved] {
        for _ in 0..2 {
            session.handle_frame(Frame::Reclaim { ticket: ticket.clone() }).unwrap();
            assert!(session.is_home());
            assert_eq!(orders(&mut session), [Order::Reclaim { ticket: ticket.clone() }]);
            session.reclaimed(STAMP, again.clone());
            let reclaimed = Frame::Reclaimed { stamp: STAMP, ticket: again.clone() };
            assert_eq!(orders(&mut session), [Order::Send(reclaimed)]);
        }
        session.handle_frame(Frame::Open { alias: 16, peer: OTHER }).unwrap();
        let opened = Order::Send(Frame::Opened { alias: 16 });
        assert_eq!(orders(&mut session), [Order::Open { alias: 16, peer: OTHER }, opened]);
        session.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
        assert!(!session.is_home(), "and the next handover may be done");
    }
}

#[test]
fn no_new_routes_while_going_away_and_again_after_the_withdrawal() {
    let mut session = home();
    session.go_away(go_away(GoAwayReason::Rollout));
    orders(&mut session);
    session.handle_frame(Frame::Open { alias: 16, peer: OTHER }).unwrap();
    assert_eq!(
        orders(&mut session),
        [Order::Send(Frame::Notice { alias: 16, code: NoticeCode::GoingAway })]
    );
    session.stay();
    orders(&mut session);
    session.handle_frame(Frame::Open { alias: 16, peer: OTHER }).unwrap();
    assert_eq!(
        orders(&mut session),
        [Order::Open { alias: 16, peer: OTHER }, Order::Send(Frame::Opened { alias: 16 })]
    );
}

#[test]
fn at_most_one_goaway_is_outstanding_and_numbers_rise() {
    let mut session = home();
    session.go_away(go_away(GoAwayReason::Rollout));
    session.go_away(go_away(GoAwayReason::Disruption));
    session.stay();
    session.stay();
    session.go_away(go_away(GoAwayReason::Rollout));
    assert_eq!(
        sequences(&orders(&mut session)),
        [("GOAWAY", 1), ("GOAWAY_CANCEL", 1), ("GOAWAY", 2), ("GOAWAY_CANCEL", 2), ("GOAWAY", 3)]
    );
}

#[test]
fn an_acknowledgement_counts_once_and_only_for_what_is_outstanding() {
    let mut session = home();
    assert_eq!(
        session.handle_frame(Frame::GoAwayAck { sequence: 1 }),
        Err(Violation::UnknownGoAway { acknowledged: 1, last: 0 })
    );
    session.go_away(go_away(GoAwayReason::Rollout));
    session.stay();
    session.go_away(go_away(GoAwayReason::Rollout));
    orders(&mut session);
    session.handle_frame(Frame::GoAwayAck { sequence: 1 }).unwrap();
    assert_eq!(orders(&mut session), [], "it crossed the withdrawal");
    assert!(!session.has_acknowledged());
    session.handle_frame(Frame::GoAwayAck { sequence: 2 }).unwrap();
    session.handle_frame(Frame::GoAwayAck { sequence: 2 }).unwrap();
    assert_eq!(orders(&mut session), [Order::Acknowledged]);
    assert!(session.has_acknowledged());
}

#[test]
fn a_limit_is_told_once_and_each_kind_of_its_own() {
    let mut session = home();
    for kind in [LimitKind::PairBytes, LimitKind::SessionBytes] {
        for allowed in [7, 7, 8] {
            session.limited(kind, allowed);
        }
    }
    let limited = |kind| Order::Send(Frame::Limited(Limited { kind, allowed: 7 }));
    let once = [limited(LimitKind::PairBytes), limited(LimitKind::SessionBytes)];
    assert_eq!(orders(&mut session), once);
}

#[test]
fn limits_hold_and_do_not_end_the_session() {
    let mut session = Session::new(Intent::Fresh, Limits { routes: 1, watches: 1, senders: 1 });
    orders(&mut session);
    session.handle_frame(Frame::Open { alias: 16, peer: PEER }).unwrap();
    session.handle_frame(Frame::Open { alias: 17, peer: PEER }).unwrap();
    session.handle_frame(Frame::Watch { peer: PEER }).unwrap();
    session.handle_frame(Frame::Watch { peer: OTHER }).unwrap();
    session.handle_frame(Frame::Open { alias: 18, peer: PEER }).unwrap();
    let limited = |kind, allowed| Order::Send(Frame::Limited(Limited { kind, allowed }));
    session.sender(PEER, false);
    session.sender(OTHER, false);
    assert_eq!(
        orders(&mut session),
        [
            Order::Open { alias: 16, peer: PEER },
            Order::Send(Frame::Opened { alias: 16 }),
            Order::Send(Frame::Notice { alias: 17, code: NoticeCode::TooMany }),
            Order::Beyond(LimitKind::Routes),
            limited(LimitKind::Routes, 1),
            Order::Watch { peer: PEER },
            Order::Send(Frame::Presence { sequence: 1, peer: OTHER, state: PeerState::Offline }),
            Order::Beyond(LimitKind::Watches),
            limited(LimitKind::Watches, 1),
            Order::Send(Frame::Notice { alias: 18, code: NoticeCode::TooMany }),
            Order::Beyond(LimitKind::Routes),
            Order::Send(Frame::Sender { alias: 16, peer: PEER }),
        ]
    );
}

#[test]
fn the_last_route_to_a_peer_says_so() {
    let mut session = home();
    for alias in [16, 17] {
        session.handle_frame(Frame::Open { alias, peer: OTHER }).unwrap();
    }
    orders(&mut session);
    for alias in [16, 17, 17] {
        session.handle_frame(Frame::Shut { alias }).unwrap();
    }
    assert_eq!(
        orders(&mut session),
        [Order::Shut { alias: 16, last: None }, Order::Shut { alias: 17, last: Some(OTHER) }]
    );
    assert_eq!(session.routed(), []);
}

#[test]
fn what_a_client_must_not_send() {
    let check = |mut session: Session, frame: Frame, violation: Violation| {
        assert_eq!(session.handle_frame(frame), Err(violation));
    };
    check(home(), Frame::Active, Violation::Unexpected("ACTIVE"));
    check(home(), Frame::MovedOk, Violation::Unexpected("MOVED_OK"));
    check(
        Session::new(Intent::Handover, Limits::default()),
        Frame::Reclaim { ticket: Bytes::new() },
        Violation::Unexpected("RECLAIM"),
    );
    let reclaimed = Frame::Reclaimed { stamp: STAMP, ticket: Bytes::new() };
    check(home(), reclaimed, Violation::Unexpected("RECLAIMED"));
    check(home(), Frame::SenderOk { alias: 16 }, Violation::UnknownSender(16));
    check(
        Session::new(Intent::Handover, Limits::default()),
        Frame::Moved { stamp: STAMP, relay: RELAY },
        Violation::Unexpected("MOVED"),
    );
    let mut session = home();
    session.handle_frame(Frame::Open { alias: 16, peer: PEER }).unwrap();
    check(session, Frame::Open { alias: 16, peer: OTHER }, Violation::AliasInUse(16));
}

#[test]
fn presence_is_numbered_and_only_for_those_who_watch() {
    let mut session = home();
    session.presence(OTHER, PeerState::Online);
    assert_eq!(orders(&mut session), []);
    session.handle_frame(Frame::Watch { peer: OTHER }).unwrap();
    session.presence(OTHER, PeerState::Offline);
    session.presence(OTHER, PeerState::Online);
    assert_eq!(
        orders(&mut session),
        [
            Order::Watch { peer: OTHER },
            Order::Send(Frame::Presence { sequence: 1, peer: OTHER, state: PeerState::Offline }),
            Order::Send(Frame::Presence { sequence: 2, peer: OTHER, state: PeerState::Online }),
        ]
    );
}

#[test]
fn outcomes() {
    use {End::*, GoAwayReason::*};
    // (asked to go, acknowledged, moved, how it ended) -> how it counts
    let table = [
        (Rollout, true, true, ClosedByClient, Outcome::Moved),
        (Rollout, true, true, Lost, Outcome::Moved),
        (Rollout, true, true, Deadline, Outcome::Moved),
        (Rollout, true, false, Reattached, Outcome::Moved),
        (Rollout, false, false, Reattached, Outcome::Moved),
        (Rollout, true, false, ClosedByClient, Outcome::Left),
        (Rollout, false, false, ClosedByClient, Outcome::Left),
        (Rollout, true, false, Superseded, Outcome::Left),
        (Rollout, true, false, Deadline, Outcome::Forced),
        (Rollout, false, false, Deadline, Outcome::Silent),
        (Rollout, true, false, Lost, Outcome::Silent),
        (Rollout, false, false, Lost, Outcome::Silent),
        (Closing, true, false, Deadline, Outcome::Left),
        (Closing, false, false, Deadline, Outcome::Silent),
    ];
    for (reason, acknowledged, moved, end, outcome) in table {
        let mut session = home();
        session.go_away(go_away(reason));
        if acknowledged {
            session.handle_frame(Frame::GoAwayAck { sequence: 1 }).unwrap();
        }
        if moved {
            session.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
        }
        assert_eq!(
            session.outcome(end),
            outcome,
            "{reason:?}, ack {acknowledged}, moved {moved}, {end:?}"
        );
    }
}

#[test]
fn a_newer_token_is_judged_in_every_state_and_answered_once() {
    let token = Token(Bytes::from_static(b"token"));
    let renewed = Renewed { expires_unix: 9, ticket: Bytes::from_static(b"ticket") };
    let refused =
        Refused { code: RefusalCode::TokenInvalid, retry: Retry::Never, message: "no".into() };
    let standby = Session::new(Intent::Handover, Limits::default());
    let mut moved = home();
    moved.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
    orders(&mut moved);
    let mut leaving = home();
    leaving.go_away(go_away(GoAwayReason::Rollout));
    orders(&mut leaving);
    for mut session in [standby, home(), moved, leaving] {
        session.handle_frame(Frame::Renew { token: token.clone() }).unwrap();
        assert_eq!(orders(&mut session), [Order::Renew { token: token.clone() }]);
        session.renewed(Ok(renewed.clone()));
        session.renewed(Err(refused.clone()));
        let answers = [Frame::Renewed(renewed.clone()), Frame::RenewRefused(refused.clone())];
        assert_eq!(orders(&mut session), answers.map(Order::Send));
        for frame in [Frame::Renewed(renewed.clone()), Frame::RenewRefused(refused.clone())] {
            let name = frame.name();
            assert_eq!(session.handle_frame(frame), Err(Violation::Unexpected(name)));
        }
    }
}

const HANDOVER: Intent = Intent::Handover;

fn policy(mode: PolicyMode) -> Frame {
    Frame::Policy { mode }
}

#[test]
fn a_policy_is_taken_in_every_state_and_each_frame_of_it_is_answered() {
    let block = Rule { verb: RuleVerb::Block, peers: vec![OTHER] };
    let mut moved = home();
    moved.handle_frame(Frame::Moved { stamp: STAMP, relay: RELAY }).unwrap();
    orders(&mut moved);
    let mut leaving = home();
    leaving.go_away(go_away(GoAwayReason::Rollout));
    orders(&mut leaving);
    for mut session in [Session::new(HANDOVER, Limits::default()), home(), moved, leaving] {
        let phase = session.phase_name();
        session.handle_frame(policy(PolicyMode::List)).unwrap();
        session.handle_frame(Frame::Rule(block.clone())).unwrap();
        let expected = [Order::Policy { mode: PolicyMode::List }, Order::Rule(block.clone())];
        assert_eq!(orders(&mut session), expected);
        session.ruled(Ok(()));
        session.ruled(Err(TooManyNames));
        let answers = [Ruled::Kept, Ruled::TooMany { allowed: 1024 }];
        assert_eq!(orders(&mut session), answers.map(|ruled| Order::Send(Frame::Ruled(ruled))));
        assert_eq!(session.phase_name(), phase);
    }
}

#[test]
fn a_session_whose_policy_comes_first_is_no_home_before_it() {
    for intent in [Intent::Fresh, Intent::Resume] {
        let mut session = Session::with_policy_first(intent, Limits::default());
        assert_eq!((orders(&mut session), session.phase_name()), (vec![], "standby"));
        let rule = Rule { verb: RuleVerb::Allow, peers: vec![PEER] };
        session.handle_frame(Frame::Rule(rule.clone())).unwrap();
        session.handle_frame(Frame::Open { alias: 16, peer: PEER }).unwrap();
        let opened = Order::Send(Frame::Opened { alias: 16 });
        let expected = [Order::Rule(rule), Order::Open { alias: 16, peer: PEER }, opened];
        assert_eq!(orders(&mut session), expected);
        assert!(!session.is_home());
        session.handle_frame(policy(PolicyMode::List)).unwrap();
        let expected = [Order::Policy { mode: PolicyMode::List }, Order::Announce];
        assert_eq!(orders(&mut session), expected, "it holds before anyone hears of the session");
        assert!(session.is_home());
        session.handle_frame(policy(PolicyMode::Any)).unwrap();
        assert_eq!(orders(&mut session), [Order::Policy { mode: PolicyMode::Any }], "once");
    }
}

#[test]
fn a_standby_whose_policy_comes_first_is_home_after_both() {
    let mut session = Session::with_policy_first(HANDOVER, Limits::default());
    assert_eq!(session.handle_frame(Frame::Active), Err(Violation::Unexpected("ACTIVE")));
    session.handle_frame(policy(PolicyMode::Group)).unwrap();
    assert!(!session.is_home());
    session.handle_frame(Frame::Active).unwrap();
    assert!(session.is_home());
    let expected = [Order::Policy { mode: PolicyMode::Group }, Order::Announce];
    assert_eq!(orders(&mut session), expected);
}

#[test]
fn what_must_not_come_before_the_policy() {
    for intent in Intent::ALL {
        let check = |frame: Frame| {
            let mut session = Session::with_policy_first(intent, Limits::default());
            let name = frame.name();
            assert_eq!(session.handle_frame(frame), Err(Violation::Unexpected(name)), "{intent:?}");
        };
        check(Frame::Active);
        check(Frame::Moved { stamp: STAMP, relay: RELAY });
        check(Frame::Reclaim { ticket: Bytes::new() });
        for frame in
            [Frame::Knock { peer: PEER }, Frame::Stranger { peer: PEER }, Frame::Ruled(Ruled::Kept)]
        {
            check(frame);
        }
    }
}

#[test]
fn a_stranger_is_told_before_its_alias_and_once() {
    let limits = Limits { senders: 2, ..Limits::default() };
    let mut session = Session::new(Intent::Fresh, limits);
    orders(&mut session);
    session.sender(PEER, true);
    session.sender(PEER, true);
    session.sender(PEER, false);
    let stranger = |peer| Order::Send(Frame::Stranger { peer });
    let sender = |alias, peer| Order::Send(Frame::Sender { alias, peer });
    assert_eq!(orders(&mut session), [stranger(PEER), sender(16, PEER)]);
    session.sender(OTHER, false);
    session.sender(OTHER, true);
    assert_eq!(orders(&mut session), [sender(17, OTHER), stranger(OTHER)], "it became one");
    session.sender(PeerId::from_bytes([3; 32]), true);
    assert_eq!(orders(&mut session), [], "one without a name is told nothing of");
}

#[test]
fn a_knock_is_told_and_routes_are_found_by_their_peer() {
    let mut session = home();
    session.knock(OTHER);
    assert_eq!(orders(&mut session), [Order::Send(Frame::Knock { peer: OTHER })]);
    assert_eq!(session.alias_to(&OTHER), None);
    session.handle_frame(Frame::Open { alias: 20, peer: OTHER }).unwrap();
    session.handle_frame(Frame::Open { alias: 17, peer: PEER }).unwrap();
    assert_eq!([OTHER, PEER].map(|peer| session.alias_to(&peer)), [Some(20), Some(17)]);
}
