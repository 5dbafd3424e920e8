//! The shutdown flag, as clients see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent};
use baton_relay::drain::{Flag, Reason};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::peer::{Peer, Who};
use crate::pool::{self, flag};

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

/// Who comes while a flag is set, and how many at a time: those who come after it are turned away, a few are in between.
const COMERS: u8 = 60;
const AT_ONCE: usize = 6;

/// The flag is set as soon as so many are in.
const FLAG_AT: u64 = 20;

#[tokio::test]
async fn the_sum_holds_whatever_races_with_the_flag() {
    let relay = Arc::new(pool::one().await);
    let (door, welcomed) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(AtomicU64::new(0)));
    let mut comers = tokio::task::JoinSet::new();
    for number in 1..=COMERS {
        let (relay, door, welcomed) = (relay.clone(), door.clone(), welcomed.clone());
        comers.spawn(async move {
            let turn = door.acquire().await.unwrap();
            let who = Who::new(number);
            let Ok(mut peer) = Peer::connect(relay.address()).await else { return false };
            peer.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
            assert!(matches!(peer.next().await, Frame::Welcome(_)));
            if welcomed.fetch_add(1, Ordering::Relaxed) + 1 == FLAG_AT {
                relay.set_flag(Some(flag("u-1", 2)));
            }
            drop(turn);
            let goaway = peer.go_away().await;
            peer.say(Frame::GoAwayAck { sequence: goaway.sequence }).await;
            if number % 2 == 0 {
                peer.connection.close(0_u32.into(), b"");
            }
            peer.connection.closed().await;
            true
        });
    }
    let mut attached = 0;
    while let Some(came) = comers.join_next().await {
        attached += u64::from(came.unwrap());
    }
    relay.drained().await;
    let report = relay.status().drain.unwrap();
    assert_eq!(report.at_flag + report.stragglers, attached, "{report:?}");
    assert_eq!(report.left + report.forced + report.silent + report.moved, attached, "{report:?}");
    let in_the_middle = FLAG_AT..FLAG_AT + AT_ONCE as u64;
    assert!(in_the_middle.contains(&attached), "{attached} attached: {report:?}");
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
