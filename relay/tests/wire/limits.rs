//! What is beyond a limit is dropped, counted, and told once; and nobody else notices.

use std::time::Instant;

use baton_protocol::bucket::Rate;
use baton_protocol::frame::{Frame, LimitKind, Limited};
use baton_relay::Relay;
use baton_relay::rates::{Rates, Throughput};
use bytes::Bytes;

use crate::peer::{PATIENCE, Peer, Who};
use crate::pool;

/// No limit but those that a test sets.
const NONE: Rates = Rates { session: UNLIMITED };
const UNLIMITED: Throughput = Throughput { datagrams: None, bytes: None };

fn datagrams(per_second: u64) -> Throughput {
    Throughput { datagrams: Rate::new(per_second), bytes: None }
}

fn bytes(per_second: u64) -> Throughput {
    Throughput { datagrams: None, bytes: Rate::new(per_second) }
}

/// A counter's value.
fn count(relay: &Relay, series: &str) -> u64 {
    let metrics = relay.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{series} in {metrics}")).trim().parse().unwrap()
}

fn beyond(relay: &Relay, kind: LimitKind) -> u64 {
    count(relay, &format!(r#"baton_relay_limited_total{{kind="{}"}}"#, kind.name()))
}

fn dropped(relay: &Relay) -> u64 {
    count(relay, r#"baton_relay_dropped_total{reason="limited"}"#)
}

/// Sends `count` datagrams of 20 bytes at once, which is more than is allowed, and waits until each has been passed or dropped.
/// Gives how many were dropped.
async fn flood(relay: &Relay, peer: &Peer, number: u64) -> u64 {
    let passed = || count(relay, r#"baton_relay_datagrams_total{direction="out"}"#);
    let (passed_before, dropped_before) = (passed(), dropped(relay));
    for _ in 0..number {
        peer.send_datagram(16, &[7; 20]);
    }
    let done = || passed() - passed_before + dropped(relay) - dropped_before == number;
    pool::until("each was passed or dropped", done).await;
    dropped(relay) - dropped_before
}

/// Whether `peer`'s datagrams reach `receiver`: all of them.
async fn reaches(peer: &Peer, receiver: &Peer, payload: &'static [u8]) {
    for _ in 0..5 {
        peer.send_datagram(16, payload);
        while receiver.payload().await != Bytes::from_static(payload) {}
    }
}

#[tokio::test]
async fn what_a_session_sends_beyond_its_rate_is_dropped_and_it_is_told_once() {
    let table = [
        (datagrams(10), LimitKind::SessionDatagrams, 10),
        // A header of one byte, and twenty.
        (bytes(2100), LimitKind::SessionBytes, 2100),
    ];
    for (session, kind, allowed) in table {
        let relay = pool::with(Rates { session, ..NONE }).await;
        let [a, b, c] = [1, 2, 3].map(Who::new);
        let (mut fast, _) = Peer::attach(&relay, &a).await;
        let (mut slow, _) = Peer::attach(&relay, &b).await;
        let (receiver, _) = Peer::attach(&relay, &c).await;
        fast.open(16, c.id()).await;
        slow.open(16, c.id()).await;
        let start = Instant::now();
        let gone = flood(&relay, &fast, 300).await;
        let per_second = if kind == LimitKind::SessionBytes { allowed / 21 } else { allowed };
        let most = per_second * (2 + start.elapsed().as_secs());
        assert!((300 - most..300).contains(&gone), "{gone} of 300 dropped, {most} may pass");
        assert_eq!(beyond(&relay, kind), gone);
        assert_eq!(fast.next().await, Frame::Limited(Limited { kind, allowed }));
        reaches(&slow, &receiver, b"slow").await;
        assert!(flood(&relay, &fast, 300).await > 0);
        fast.open(17, c.id()).await;
        relay.stop().await;
    }
}

#[tokio::test]
async fn another_rate_holds_without_the_end_of_a_session() {
    let relay = pool::with(NONE).await;
    let [a, b] = [1, 2].map(Who::new);
    let (mut peer, _) = Peer::attach(&relay, &a).await;
    let (_receiver, _) = Peer::attach(&relay, &b).await;
    peer.open(16, b.id()).await;
    assert_eq!(flood(&relay, &peer, 300).await, 0);
    let rates = Rates { session: datagrams(10), ..NONE };
    let mut reload = pool::rules(baton_relay::auth::Mode::Open);
    reload.rates = rates;
    relay.reload(reload).await.unwrap();
    // A session looks a few times a second.
    let holds = async { while flood(&relay, &peer, 300).await == 0 {} };
    tokio::time::timeout(PATIENCE, holds).await.expect("the new rate holds");
    let limited = Limited { kind: LimitKind::SessionDatagrams, allowed: 10 };
    assert_eq!(peer.next().await, Frame::Limited(limited));
    relay.stop().await;
}
