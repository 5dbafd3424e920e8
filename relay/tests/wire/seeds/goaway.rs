//! One owner of every GOAWAY, as clients see it. Which orders of comers and flag there can be is gone through beside the code
//! (`relay/src/directory/seeds/`).

use std::time::{Duration, Instant};

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, NoticeCode};
use baton_protocol::id::PeerId;
use baton_relay::status::Phase;
use bytes::Bytes;
use quinn::{ConnectionError, TransportErrorCode};

use crate::peer::{Peer, Who};
use crate::pool::{self, flag};

#[tokio::test]
async fn broadcast_everyone_is_told_once_and_a_clean_drain_returns_early() {
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
    let before = Instant::now();
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
async fn force_close_at_the_deadline_those_who_acknowledged_count_as_forced_and_the_others_as_silent()
 {
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
async fn a_straggler_gets_exactly_one_goaway_with_the_remaining_time_and_is_closed_at_the_deadline()
{
    const GRACE: u64 = 4;
    let relay = pool::one().await;
    let who = Who::new(1);
    let mut straggler = Peer::connect(relay.address()).await.unwrap();
    let flagged = Instant::now();
    relay.set_flag(Some(flag("u-1", GRACE)));
    pool::until("the flag is set", || relay.status().state != Phase::Serving).await;
    let Err(ConnectionError::ConnectionClosed(close)) =
        Peer::connect(relay.address()).await.map(drop)
    else {
        panic!("let in")
    };
    assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
    assert_eq!(relay.status().state, Phase::Draining, "not drained while someone may still come");

    // So late that the remaining time is not the whole.
    tokio::time::sleep_until((flagged + Duration::from_secs(1)).into()).await;
    straggler.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    assert!(matches!(straggler.next().await, Frame::Welcome(_)));
    let goaway = straggler.go_away().await;
    assert!(goaway.deadline <= Duration::from_secs(GRACE - 1), "{:?} is not left", goaway.deadline);
    straggler.say(Frame::GoAwayAck { sequence: goaway.sequence }).await;
    assert_eq!(straggler.rest().await, [], "one GOAWAY");
    assert_eq!(straggler.closed().await, u64::from(CloseCode::GoawayTimeout.code()));
    let passed = flagged.elapsed();
    assert!(passed >= Duration::from_secs(GRACE), "closed after {passed:?}, before its time");
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!((report.at_flag, report.stragglers, report.forced), (0, 1, 1));
    assert!(relay.metrics().contains("baton_relay_goaway_sent_total 1"));
    relay.stop().await;
}

#[tokio::test]
async fn drain_cancel_and_drain_again_on_one_session_which_is_as_before_each_time() {
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
