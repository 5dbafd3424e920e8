//! Datagrams that do not fit their path.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use baton_protocol::bucket::Rate;
use baton_protocol::datagram::{self, Datagram, MAX_PAYLOAD};
use baton_protocol::detour::{LONGEST, PATIENCE, TAKEN_BY_CLIENT, TAKEN_BY_RELAY};
use baton_protocol::frame::{CAPABILITY_STREAMS, Frame, Intent, LimitKind, Limited};
use baton_protocol::id::PeerId;
use baton_relay::Relay;
use baton_relay::rates::{Rates, Throughput};
use bytes::Bytes;
use quinn::SendStream;

use crate::peer::{PATIENCE as LONG, Peer, Who};
use crate::pool;

const ALIAS: u64 = 16;

/// Attaches over a path that carries no full payload in a datagram.
pub(crate) async fn narrow(relay: &Relay, who: &Who, capabilities: u64, streams: u32) -> Peer {
    let mut peer = Peer::connect_narrow(relay.address(), streams).await.unwrap();
    let hello = who.hello(Intent::Fresh, Bytes::new(), Bytes::new());
    peer.hello(who, baton_protocol::frame::Hello { capabilities, ..hello }).await;
    assert!(matches!(peer.next().await, Frame::Welcome(_)));
    if capabilities != 0 {
        assert_eq!(peer.next().await, Frame::Capabilities { known: CAPABILITY_STREAMS });
    }
    assert!(peer.connection.max_datagram_size().unwrap() < MAX_PAYLOAD, "the path is narrow");
    peer
}

/// A stream, if there is one to be had now.
fn stream_now(peer: &Peer) -> Option<SendStream> {
    match pin!(peer.connection.open_uni()).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(stream) => Some(stream.unwrap()),
        std::task::Poll::Pending => None,
    }
}

/// Sends a datagram by a stream.
pub(crate) async fn send(peer: &Peer, datagram: &[u8]) {
    let opened = tokio::time::timeout(LONG, peer.connection.open_uni()).await;
    let mut stream = opened.expect("a stream").unwrap();
    stream.write_all(datagram).await.unwrap();
    stream.finish().unwrap();
}

/// The next datagram that comes by a stream.
pub(crate) async fn taken(peer: &Peer) -> Datagram {
    let stream = tokio::time::timeout(LONG, peer.connection.accept_uni()).await;
    let datagram = stream.expect("a stream").unwrap().read_to_end(LONGEST).await.unwrap();
    Datagram::decode(&datagram.into()).unwrap()
}

fn count(relay: &Relay, series: &str) -> u64 {
    let metrics = relay.metrics();
    let line = metrics.lines().find(|line| line.contains(series)).expect(series);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn dropped(relay: &Relay, reason: &str) -> u64 {
    count(relay, &format!(r#"baton_relay_dropped_total{{reason="{reason}"}}"#))
}

fn payload(number: usize) -> Vec<u8> {
    let mut payload = vec![0; MAX_PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

#[tokio::test]
async fn a_full_payload_comes_in_either_form_where_neither_path_carries_it() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let mut receiver = narrow(&relay, &b, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    sender.open(ALIAS, b.id()).await;
    send(&sender, &datagram::aliased(ALIAS, &payload(0))).await;
    let first = Datagram::Long { sender: a.id().prefix(), payload: payload(0).into() };
    assert_eq!(taken(&receiver).await, first);
    let Frame::Sender { alias, .. } = receiver.next().await else { panic!("no SENDER") };
    receiver.say(Frame::SenderOk { alias }).await;
    // Answered after it, so it is known.
    receiver.open(ALIAS, a.id()).await;
    // More than there may be at a time, and each comes once.
    let all = 4 * TAKEN_BY_CLIENT as usize;
    let mut came = Vec::new();
    for number in 1..=all {
        send(&sender, &datagram::aliased(ALIAS, &payload(number))).await;
        let Datagram::Aliased { alias: by, payload } = taken(&receiver).await else {
            panic!("another form")
        };
        assert_eq!((by, payload.len()), (alias, MAX_PAYLOAD));
        came.push(usize::from_be_bytes(payload[..8].try_into().unwrap()));
    }
    assert_eq!(came, (1..=all).collect::<Vec<_>>());
    for way in ["in", "out"] {
        let series = format!(r#"baton_relay_detours_total{{direction="{way}"}}"#);
        assert_eq!(count(&relay, &series), all as u64 + 1, "{way}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn what_fits_goes_by_no_stream() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let receiver = narrow(&relay, &b, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    sender.open(ALIAS, b.id()).await;
    sender.send_datagram(ALIAS, b"small");
    assert_eq!(receiver.payload().await, b"small".as_slice());
    assert_eq!(count(&relay, r#"baton_relay_detours_total{direction="out"}"#), 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_know_streams_gets_none_and_may_open_none() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let mut receiver = narrow(&relay, &b, 0, TAKEN_BY_CLIENT).await;
    sender.open(ALIAS, b.id()).await;
    send(&sender, &datagram::aliased(ALIAS, &payload(0))).await;
    pool::until("it is dropped", || dropped(&relay, "too_large") == 1).await;
    assert!(matches!(receiver.next().await, Frame::Sender { .. }));
    receiver.open(ALIAS, a.id()).await;
    assert!(stream_now(&receiver).is_none());
    relay.stop().await;
}

#[tokio::test]
async fn nobody_may_open_a_stream_before_welcome() {
    let relay = pool::one().await;
    let peer = Peer::connect_narrow(relay.address(), TAKEN_BY_CLIENT).await.unwrap();
    assert!(stream_now(&peer).is_none());
    relay.stop().await;
}

#[tokio::test]
async fn streams_that_never_end_cost_their_own_slots_and_nothing_else() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let receiver = narrow(&relay, &b, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    sender.open(ALIAS, b.id()).await;
    for round in 1..=2 {
        let begun = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..TAKEN_BY_RELAY {
            let opened = tokio::time::timeout(LONG, sender.connection.open_uni()).await;
            let mut stream = opened.expect("a slot").unwrap();
            stream.write_all(&[16]).await.unwrap();
            streams.push(stream);
        }
        assert!(stream_now(&sender).is_none(), "there are no more");
        sender.send_datagram(ALIAS, b"beside");
        assert_eq!(receiver.payload().await, b"beside".as_slice());
        for stream in &mut streams {
            let stopped = tokio::time::timeout(LONG, stream.stopped()).await.expect("an end");
            assert_eq!(stopped.unwrap(), Some(0_u32.into()));
        }
        assert!(begun.elapsed() >= PATIENCE - Duration::from_millis(100));
        let unfinished = round * u64::from(TAKEN_BY_RELAY);
        pool::until("they are counted", || dropped(&relay, "unfinished") == unfinished).await;
        assert!(stream_now(&sender).is_none(), "who holds them has no others");
        for stream in &mut streams {
            stream.reset(0_u32.into()).unwrap();
        }
    }
    // The slots are free again.
    send(&sender, &datagram::aliased(ALIAS, &payload(7))).await;
    assert!(matches!(taken(&receiver).await, Datagram::Long { .. }));
    relay.stop().await;
}

#[tokio::test]
async fn what_is_no_payload_and_what_is_too_long_is_dropped() {
    let relay = pool::one().await;
    let a = Who::new(1);
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    send(&sender, &datagram::echo([7; 8])).await;
    send(&sender, &[]).await;
    send(&sender, &datagram::long(a.id().prefix(), b"x")).await;
    pool::until("they are dropped", || dropped(&relay, "malformed") == 3).await;
    let mut long = sender.connection.open_uni().await.unwrap();
    let written = long.write_all(&vec![16; 32 * 1024]).await;
    let stopped = written.is_err() || long.stopped().await.unwrap() == Some(0_u32.into());
    assert!(stopped, "nobody reads on");
    pool::until("it is dropped", || dropped(&relay, "unfinished") == 1).await;
    sender.open(ALIAS, PeerId::from_bytes([9; 32])).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_receiver_that_gives_no_streams_loses_what_does_not_fit_and_hears_all_else() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let mut receiver = narrow(&relay, &b, CAPABILITY_STREAMS, 0).await;
    sender.open(ALIAS, b.id()).await;
    send(&sender, &datagram::aliased(ALIAS, &payload(0))).await;
    assert!(matches!(receiver.next().await, Frame::Sender { .. }));
    receiver.open(ALIAS, a.id()).await;
    pool::until("it is dropped", || dropped(&relay, "no_stream") == 1).await;
    sender.send_datagram(ALIAS, b"small");
    assert_eq!(receiver.payload().await, b"small".as_slice());
    relay.stop().await;
}

#[tokio::test]
async fn what_comes_by_streams_counts_for_the_rate_of_its_session_with_the_rest() {
    const ALLOWED: u64 = 10;
    let session = Throughput { datagrams: Rate::new(ALLOWED), ..Throughput::NONE };
    let relay = pool::with(Rates { session, ..Rates::NONE }).await;
    let (a, b) = (Who::new(1), Who::new(2));
    let mut sender = narrow(&relay, &a, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    let _receiver = narrow(&relay, &b, CAPABILITY_STREAMS, TAKEN_BY_CLIENT).await;
    sender.open(ALIAS, b.id()).await;
    let passed = || count(&relay, r#"baton_relay_datagrams_total{direction="in"}"#);
    let (sent, started) = (100, Instant::now());
    for _ in 0..sent / 2 {
        sender.send_datagram(ALIAS, b"as a datagram");
        send(&sender, &datagram::aliased(ALIAS, b"by a stream")).await;
    }
    pool::until("each was taken or not", || passed() + dropped(&relay, "limited") == sent).await;
    let most = ALLOWED * (2 + started.elapsed().as_secs());
    assert!((1..=most).contains(&passed()), "{} of {sent} passed, {most} may", passed());
    let limited = Limited { kind: LimitKind::SessionDatagrams, allowed: ALLOWED };
    assert_eq!(sender.next().await, Frame::Limited(limited));
    relay.stop().await;
}
