//! What is beyond a limit is dropped, counted, and told once; and nobody else notices.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use baton_protocol::bucket::Rate;
use baton_protocol::datagram;
use baton_protocol::frame::{Frame, Intent, LimitKind, Limited, RefusalCode, Retry};
use baton_protocol::id::PeerId;
use baton_protocol::session::Limits;
use baton_relay::Relay;
use baton_relay::rates::{Rates, Throughput};
use bytes::Bytes;
use quinn::{ConnectionError, TransportErrorCode};

use crate::peer::{PATIENCE, Peer, Who};
use crate::pool::{self, count};

fn datagrams(per_second: u64) -> Throughput {
    Throughput { datagrams: Rate::new(per_second), bytes: None }
}

fn bytes(per_second: u64) -> Throughput {
    Throughput { datagrams: None, bytes: Rate::new(per_second) }
}

fn beyond(relay: &Relay, kind: LimitKind) -> u64 {
    count(relay, &format!(r#"baton_relay_limited_total{{kind="{}"}}"#, kind.name()))
}

fn dropped(relay: &Relay) -> u64 {
    count(relay, r#"baton_relay_dropped_total{reason="limited"}"#)
}

/// Sends `count` datagrams of 20 bytes at once, which is more than is allowed, and waits until each has been passed or dropped.
/// Gives how many were dropped.
async fn flood_by(relay: &Relay, peer: &Peer, alias: u64, number: u64) -> u64 {
    let passed = || count(relay, r#"baton_relay_datagrams_total{direction="out"}"#);
    let (passed_before, dropped_before) = (passed(), dropped(relay));
    for _ in 0..number {
        peer.send_datagram(alias, &[7; 20]);
    }
    let done = || passed() - passed_before + dropped(relay) - dropped_before == number;
    pool::until("each was passed or dropped", done).await;
    dropped(relay) - dropped_before
}

async fn flood(relay: &Relay, peer: &Peer, number: u64) -> u64 {
    flood_by(relay, peer, 16, number).await
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
        let relay = pool::with(Rates { session, ..Rates::NONE }).await;
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
    let relay = pool::with(Rates::NONE).await;
    let [a, b] = [1, 2].map(Who::new);
    let (mut peer, _) = Peer::attach(&relay, &a).await;
    let (_receiver, _) = Peer::attach(&relay, &b).await;
    peer.open(16, b.id()).await;
    assert_eq!(flood(&relay, &peer, 300).await, 0);
    let rates = Rates { session: datagrams(10), ..Rates::NONE };
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

#[tokio::test]
async fn what_goes_to_one_peer_beyond_its_rate_is_dropped_and_not_what_goes_to_another() {
    for (pair, kind, allowed) in
        [(datagrams(10), LimitKind::PairDatagrams, 10), (bytes(2000), LimitKind::PairBytes, 2000)]
    {
        let relay = pool::with(Rates { pair, ..Rates::NONE }).await;
        let [a, b, c] = [1, 2, 3].map(Who::new);
        let (mut sender, _) = Peer::attach(&relay, &a).await;
        let (_busy, _) = Peer::attach(&relay, &b).await;
        let (other, _) = Peer::attach(&relay, &c).await;
        for (alias, peer) in [(16, c.id()), (17, b.id()), (18, b.id())] {
            sender.open(alias, peer).await;
        }
        let gone = flood_by(&relay, &sender, 17, 300).await;
        assert!(gone > 0 && beyond(&relay, kind) == gone);
        assert_eq!(sender.next().await, Frame::Limited(Limited { kind, allowed }));
        reaches(&sender, &other, b"other").await;
        // Neither another route nor the same one anew has more of it: it is told no more, and drops go on.
        sender.say(Frame::Shut { alias: 17 }).await;
        sender.open(17, b.id()).await;
        for alias in [17, 18] {
            assert!(flood_by(&relay, &sender, alias, 300).await > 0, "by {alias}");
        }
        sender.open(19, b.id()).await;
        relay.stop().await;
    }
}

#[tokio::test]
async fn nobody_is_told_of_a_sender_of_whom_nothing_may_come() {
    // Less than one datagram.
    let relay = pool::with(Rates { pair: bytes(10), ..Rates::NONE }).await;
    let [a, b] = [1, 2].map(Who::new);
    let (mut sender, _) = Peer::attach(&relay, &a).await;
    let (mut receiver, _) = Peer::attach(&relay, &b).await;
    sender.open(16, b.id()).await;
    assert_eq!(flood(&relay, &sender, 300).await, 300);
    receiver.say(Frame::Open { alias: 16, peer: a.id() }).await;
    assert_eq!(receiver.next().await, Frame::Opened { alias: 16 });
    relay.stop().await;
}

#[tokio::test]
async fn what_comes_for_one_peer_beyond_its_rate_is_dropped_and_the_receiver_is_told_once() {
    for (receiver, kind, allowed) in [
        (datagrams(10), LimitKind::ReceiverDatagrams, 10),
        (bytes(2000), LimitKind::ReceiverBytes, 2000),
    ] {
        let relay = pool::with(Rates { receiver, ..Rates::NONE }).await;
        let [a, b, c, d] = [1, 2, 3, 4].map(Who::new);
        let (mut first, _) = Peer::attach(&relay, &a).await;
        let (mut second, _) = Peer::attach(&relay, &b).await;
        let (mut busy, _) = Peer::attach(&relay, &c).await;
        let (other, _) = Peer::attach(&relay, &d).await;
        for sender in [&mut first, &mut second] {
            sender.open(16, c.id()).await;
        }
        let gone = flood(&relay, &first, 300).await + flood(&relay, &second, 300).await;
        assert!(gone > 0 && beyond(&relay, kind) == gone);
        let mut told = Vec::new();
        while !told.contains(&Frame::Limited(Limited { kind, allowed })) {
            told.push(busy.next().await);
        }
        assert!(flood(&relay, &first, 300).await > 0);
        // Whoever sends to it hears of nothing, and whoever sends elsewhere notices nothing.
        first.open(17, d.id()).await;
        second.say(Frame::Shut { alias: 16 }).await;
        second.open(16, d.id()).await;
        reaches(&second, &other, b"other").await;
        busy.say(Frame::Open { alias: 16, peer: d.id() }).await;
        loop {
            match busy.next().await {
                Frame::Opened { alias: 16 } => break,
                Frame::Sender { .. } => {}
                told => panic!("{} once more", told.name()),
            }
        }
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_peer_that_attaches_again_and_again_is_refused_for_a_moment() {
    let relay = pool::with(Rates { attachments_per_peer: Rate::new(1), ..Rates::NONE }).await;
    let who = Who::new(1);
    let hello = |who: &Who| who.hello(Intent::Fresh, Bytes::new(), Bytes::new());
    let mut refused = None;
    for _ in 0..100 {
        let mut peer = Peer::connect(relay.address()).await.unwrap();
        peer.hello(&who, hello(&who)).await;
        if let Frame::Refused(frame) = peer.next().await {
            refused = Some(frame);
            break;
        }
    }
    let refused = refused.expect("it is refused");
    let Retry::After(wait) = refused.retry else { panic!("{refused:?}") };
    assert_eq!(refused.code, RefusalCode::TooSoon);
    assert_eq!(count(&relay, r#"baton_relay_limited_total{kind="attachments_per_peer"}"#), 1);
    let (_other, _) = Peer::attach(&relay, &Who::new(2)).await;
    // As long as it was told, and it is let in.
    tokio::time::sleep(wait).await;
    let (_peer, _) = Peer::attach(&relay, &who).await;
    relay.stop().await;
}

/// Connects so often, all at once. Gives the connections, and how many were turned away.
async fn knock(relay: &Relay, from: IpAddr, times: usize) -> (Vec<Peer>, u64) {
    let from = SocketAddr::new(from, 0);
    let knocks = (0..times).map(|_| Peer::connect_from(from, relay.address()));
    let mut connected = Vec::new();
    let mut away = 0;
    for knock in futures::future::join_all(knocks).await {
        match knock {
            Ok(peer) => connected.push(peer),
            Err(ConnectionError::ConnectionClosed(close)) => {
                assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
                away += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (connected, away)
}

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn handshakes_beyond_the_rate_are_turned_away_and_sessions_notice_nothing() {
    let relay = pool::with(Rates { handshakes: Rate::new(6), ..Rates::NONE }).await;
    let [a, b] = [1, 2].map(Who::new);
    let (mut peer, _) = Peer::attach(&relay, &a).await;
    let (other, _) = Peer::attach(&relay, &b).await;
    peer.open(16, b.id()).await;
    let (connected, away) = knock(&relay, FIRST, 40).await;
    assert!(away > 0 && !connected.is_empty(), "{away} turned away");
    assert_eq!(count(&relay, r#"baton_relay_limited_total{kind="handshakes"}"#), away);
    assert_eq!(count(&relay, r#"baton_relay_handshakes_total{result="turned_away"}"#), away);
    let asked = count(&relay, r#"baton_relay_handshakes_total{result="retry"}"#);
    assert!(asked >= away, "{asked} had to show their address first");
    reaches(&peer, &other, b"hello").await;
    relay.stop().await;
}

#[tokio::test]
async fn one_address_takes_no_handshakes_from_another() {
    let rates = Rates { handshakes_per_prefix: Rate::new(2), ..Rates::NONE };
    let relay = pool::with(rates).await;
    let (_first, away) = knock(&relay, FIRST, 20).await;
    assert!(away > 0, "none was turned away");
    let (second, turned) = knock(&relay, SECOND, 2).await;
    assert_eq!((second.len(), turned), (2, 0));
    let limited = r#"baton_relay_limited_total{kind="handshakes_per_prefix"}"#;
    assert_eq!(count(&relay, limited), away);
    relay.stop().await;
}

/// On one thread, whoever yields goes on when all others had their turn: the reader of a session that floods, too.
#[tokio::test]
async fn a_flood_of_the_smallest_datagrams_leaves_everybody_their_turns() {
    const FLOOD: u64 = 5_000;
    /// A turn, and one more that may lie between two of ours.
    const MOST: u64 = 2 * 256;
    let relay = pool::with(Rates::NONE).await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    // Many of them are in a packet, and many packets come at once.
    let (connection, datagram) = (peer.connection.clone(), datagram::aliased(16, b""));
    let flood = tokio::spawn(async move {
        for _ in 0..FLOOD {
            connection.send_datagram_wait(datagram.clone()).await.unwrap();
        }
    });
    let came = || count(&relay, r#"baton_relay_datagrams_total{direction="in"}"#);
    let (mut before, mut longest) = (came(), 0);
    while !flood.is_finished() {
        tokio::task::yield_now().await;
        let now = came();
        longest = longest.max(now - std::mem::replace(&mut before, now));
    }
    assert!((1..=MOST).contains(&longest), "{longest} of {before} between two turns");
    relay.stop().await;
}

#[tokio::test]
async fn control_frames_without_end_are_taken_slowly_and_what_is_meant_is_answered_all_the_same() {
    let relay = pool::with(Rates::NONE).await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    let shut = Frame::Shut { alias: 16 }.encode();
    let start = Instant::now();
    // At once come as many as two seconds may have; these are as many as four may.
    peer.write(&shut.repeat(20_000)).await;
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    let took = start.elapsed();
    assert!(took > std::time::Duration::from_secs(1), "they were taken in {took:?}");
    relay.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_of_what_waits_for_it_is_closed_however_little_that_is() {
    let relay = pool::with(Rates::NONE).await;
    let who = Who::new(1);
    let mut deaf = Peer::connect_deaf(relay.address()).await.unwrap();
    deaf.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    for number in 0..3 {
        deaf.say(Frame::Watch { peer: PeerId::from_bytes([number; 32]) }).await;
    }
    let limit = u64::from(baton_protocol::close::CloseCode::LimitExceeded.code());
    assert_eq!(deaf.closed().await, limit);
    relay.stop().await;
}

#[tokio::test]
async fn routes_and_watches_are_as_many_as_welcome_says_and_no_more() {
    let held = Limits { routes: 2, watches: 3, ..Limits::DEFAULT };
    let relay = pool::with(Rates { held, ..Rates::NONE }).await;
    let (mut peer, welcome) = Peer::attach(&relay, &Who::new(1)).await;
    assert_eq!((welcome.max_routes, welcome.max_watches), (2, 3));
    let nobody = |number| PeerId::from_bytes([number; 32]);
    for number in 0..4 {
        peer.say(Frame::Open { alias: 16 + u64::from(number), peer: nobody(number) }).await;
        peer.say(Frame::Watch { peer: nobody(number) }).await;
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Frame::Limited(limited) = peer.next().await {
            told.push((limited.kind, limited.allowed));
        }
    }
    assert_eq!(told, [(LimitKind::Routes, 2), (LimitKind::Watches, 3)]);
    assert_eq!([LimitKind::Routes, LimitKind::Watches].map(|kind| beyond(&relay, kind)), [2, 1]);
    let (mut other, welcome) = Peer::attach(&relay, &Who::new(2)).await;
    assert_eq!(welcome.max_routes, 2);
    other.open(16, nobody(9)).await;
    relay.stop().await;
}
