//! Facts that are named in `make show T=seeds`.

use std::time::{Duration, Instant};

use baton_protocol::frame::{Frame, GoAwayReason, Intent};
use bytes::Bytes;

use crate::machine::Machine;
use crate::peer::{Peer, Who};

const SESSIONS: u8 = 40;

#[tokio::test]
async fn sigterm_without_a_flag_tells_all_at_once_spreads_their_returns_and_leaves_a_report() {
    let mut relay = Machine::new(3);
    relay.seeds(&[]);
    relay.start();
    relay.until_ready();
    let mut peers = Vec::new();
    for number in 1..=SESSIONS {
        let who = Who::new(number);
        let mut peer = Peer::connect(relay.address()).await.unwrap();
        peer.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
        assert!(matches!(peer.next().await, Frame::Welcome(_)));
        peers.push(peer);
    }
    let terminated = Instant::now();
    relay.terminate();
    let mut slots = Vec::new();
    for peer in &mut peers {
        let goaway = peer.go_away().await;
        peer.say(Frame::GoAwayAck { sequence: goaway.sequence }).await;
        assert_eq!(goaway.reason, GoAwayReason::Disruption);
        // 80 s until it is killed, less the linger and a margin.
        assert!(goaway.deadline <= Duration::from_secs(68), "{:?}", goaway.deadline);
        slots.push(goaway.reconnect_after);
    }
    let told = terminated.elapsed();
    assert!(told < Duration::from_secs(10), "the last was told after {told:?}");
    assert!(slots.is_sorted(), "{slots:?}");
    let last = slots[slots.len() - 1];
    assert!(
        last > Duration::from_secs(10) && last < Duration::from_secs(20),
        "two per second: the last after {last:?}"
    );

    peers.iter().for_each(|peer| peer.connection.close(0_u32.into(), b""));
    for peer in peers {
        peer.endpoint.wait_idle().await;
    }
    let (status, report) = relay.exit();
    assert!(status.success(), "{status}");
    let passed = terminated.elapsed();
    assert!(passed < Duration::from_secs(30), "it ended after {passed:?}, not when it was empty");
    let drain = &report["drain"];
    assert_eq!((&drain["atFlag"], &drain["left"]), (&SESSIONS.into(), &SESSIONS.into()));
    assert_eq!(drain["id"], "relay-3-sigterm");
    assert_eq!(report["state"], "lingering");
}
