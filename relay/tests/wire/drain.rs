//! The shutdown flag, as clients see it.

use std::time::Duration;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, NoticeCode};
use baton_protocol::id::PeerId;
use baton_relay::drain::{Flag, Reason};
use baton_relay::status::Phase;
use bytes::Bytes;
use quinn::ConnectionError;

use crate::peer::{Peer, Who};
use crate::pool::{self, flag};

#[tokio::test]
async fn everyone_is_told_once_and_an_empty_relay_is_drained_at_once() {
    let relay = pool::one().await;
    let mut peers = Vec::new();
    for number in 1..=20 {
        peers.push(Peer::attach(&relay, &Who::new(number)).await.0);
    }
    relay.set_flag(Some(flag("u-1", 60)));
    for peer in &mut peers {
        let goaway = peer.go_away().await;
        assert_eq!(goaway.sequence, 1);
        assert!(
            goaway.deadline > Duration::from_secs(58) && goaway.deadline <= Duration::from_secs(60)
        );
        peer.say(Frame::GoAwayAck { sequence: 1 }).await;
    }
    pool::until("all have acknowledged", || relay.status().drain.unwrap().acknowledged == 20).await;
    assert_eq!(relay.status().state, Phase::Draining);
    relay.set_flag(Some(flag("u-1", 60)));
    for peer in peers {
        peer.connection.close(0_u32.into(), b"");
    }
    let before = std::time::Instant::now();
    relay.drained().await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "not at the deadline, but when it is empty"
    );
    let report = relay.status().drain.unwrap();
    assert_eq!((report.at_flag, report.stragglers, report.left, report.remaining), (20, 0, 20, 0));
    assert_eq!(relay.status().state, Phase::Drained);
    assert!(relay.metrics().contains("baton_relay_goaway_sent_total 20"));
    relay.stop().await;
}

#[tokio::test]
async fn at_the_deadline_those_who_acknowledged_are_forced_and_the_others_silent() {
    let relay = pool::one().await;
    let (mut answers, _) = Peer::attach(&relay, &Who::new(1)).await;
    let (mut ignores, _) = Peer::attach(&relay, &Who::new(2)).await;
    relay.set_flag(Some(flag("u-1", 1)));
    answers.go_away().await;
    ignores.go_away().await;
    answers.say(Frame::GoAwayAck { sequence: 1 }).await;
    for peer in [&answers, &ignores] {
        assert_eq!(
            peer.closed().await,
            u64::from(CloseCode::GoawayTimeout.code()),
            "never silently"
        );
    }
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!((report.forced, report.silent, report.moved, report.left), (1, 1, 0, 0));
    relay.stop().await;
}

#[tokio::test]
async fn a_new_connection_is_turned_away_and_a_handshake_under_way_is_a_straggler() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let mut straggler = Peer::connect(relay.address()).await.unwrap();
    relay.set_flag(Some(flag("u-1", 60)));
    pool::until("the flag is set", || relay.status().state != Phase::Serving).await;
    let Err(ConnectionError::ConnectionClosed(close)) =
        Peer::connect(relay.address()).await.map(drop)
    else {
        panic!("let in")
    };
    assert_eq!(close.error_code, quinn_refused());

    assert_eq!(relay.status().state, Phase::Draining, "not drained while someone may still come");
    straggler.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    assert!(matches!(straggler.next().await, Frame::Welcome(_)));
    assert!(straggler.go_away().await.deadline < Duration::from_secs(60), "the remaining time");
    let report = relay.status().drain.unwrap();
    assert_eq!((report.at_flag, report.stragglers, report.remaining), (0, 1, 1));
    relay.stop().await;
}

fn quinn_refused() -> quinn::TransportErrorCode {
    quinn::TransportErrorCode::CONNECTION_REFUSED
}

#[tokio::test]
async fn a_withdrawn_flag_leaves_sessions_as_they_were() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    for round in 1..=3 {
        relay.set_flag(Some(flag(&format!("u-{round}"), 60)));
        assert_eq!(peer.go_away().await.sequence, round);
        peer.say(Frame::GoAwayAck { sequence: round }).await;
        peer.say(Frame::Open { alias: 100 + round, peer: PeerId::from_bytes([9; 32]) }).await;
        assert_eq!(
            peer.next().await,
            Frame::Notice { alias: 100 + round, code: NoticeCode::GoingAway }
        );
        relay.set_flag(None);
        assert_eq!(peer.next().await, Frame::GoAwayCancel { sequence: round });
        peer.open(200 + round, PeerId::from_bytes([9; 32])).await;
        assert_eq!(relay.status().state, Phase::Serving);
    }
    let (_other, _) = Peer::attach(&relay, &Who::new(2)).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_pool_that_closes_gives_its_sessions_five_seconds_and_they_count_as_left() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    relay.set_flag(Some(Flag { reason: Reason::Closing, ..flag("u-1", 60) }));
    assert!(peer.go_away().await.deadline <= Duration::from_secs(5));
    peer.say(Frame::GoAwayAck { sequence: 1 }).await;
    peer.closed().await;
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!((report.left, report.forced), (1, 0));
    relay.stop().await;
}

#[tokio::test]
async fn the_sum_holds_whatever_races_with_the_flag() {
    let relay = std::sync::Arc::new(pool::one().await);
    let mut comers = tokio::task::JoinSet::new();
    for number in 1..=60_u8 {
        let relay = relay.clone();
        comers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(number) * 3)).await;
            let who = Who::new(number);
            let Ok(mut peer) = Peer::connect(relay.address()).await else { return false };
            peer.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
            assert!(matches!(peer.next().await, Frame::Welcome(_)));
            let goaway = peer.go_away().await;
            peer.say(Frame::GoAwayAck { sequence: goaway.sequence }).await;
            if number % 2 == 0 {
                peer.connection.close(0_u32.into(), b"");
            }
            peer.connection.closed().await;
            true
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    relay.set_flag(Some(flag("u-1", 2)));
    let mut attached = 0;
    while let Some(came) = comers.join_next().await {
        attached += u64::from(came.unwrap());
    }
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!(report.at_flag + report.stragglers, attached, "{report:?}");
    assert_eq!(report.left + report.forced + report.silent + report.moved, attached, "{report:?}");
    assert!(attached > 0 && attached < 60, "the flag came in the middle: {report:?}");
}

#[tokio::test]
async fn who_does_not_read_its_welcome_is_a_session_like_any_other() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let mut deaf = Peer::connect_deaf(relay.address()).await.unwrap();
    deaf.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    pool::until("it is a session", || relay.status().sessions == 1).await;
    tokio::time::sleep(baton_protocol::HELLO_TIMEOUT + Duration::from_millis(500)).await;
    assert_eq!(relay.status().sessions, 1, "HELLO came in time");
    relay.set_flag(Some(flag("u-1", 1)));
    assert_eq!(deaf.closed().await, u64::from(CloseCode::GoawayTimeout.code()));
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!((report.at_flag, report.silent, report.remaining), (1, 1, 0));
    relay.stop().await;
}

#[tokio::test]
async fn a_flag_that_changes_while_it_is_told_is_told_to_everyone() {
    let relay = pool::one().await;
    let mut peers = Vec::new();
    for number in 0..=255 {
        peers.push(Peer::attach(&relay, &Who::new(number)).await.0);
    }
    let sent = || relay.metrics().contains("baton_relay_goaway_sent_total 256");
    relay.set_flag(Some(flag("u-1", 60)));
    // The first batch is told, and the rest is not yet.
    while relay.metrics().contains("baton_relay_goaway_sent_total 0") {
        tokio::task::yield_now().await;
    }
    relay.set_flag(Some(flag("u-1", 70)));
    pool::until("all are told", sent).await;
    relay.set_flag(Some(flag("u-1", 30)));
    for peer in &mut peers {
        assert_eq!(peer.go_away().await.sequence, 1);
        assert_eq!(peer.next().await, Frame::GoAwayCancel { sequence: 1 });
        assert!(peer.go_away().await.deadline <= Duration::from_secs(30), "it came closer");
    }
    relay.stop().await;
}
