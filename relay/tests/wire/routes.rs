//! Routes, aliases and presence on one relay.

use baton_protocol::datagram::{self, Datagram};
use baton_protocol::frame::{Frame, Intent, NoticeCode, PeerState};
use baton_protocol::id::PeerId;
use bytes::Bytes;
use serde_json::json;

use crate::peer::{Peer, Who};
use crate::pool;

#[tokio::test]
async fn a_sender_comes_in_long_form_until_its_alias_is_known() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, _) = Peer::attach(&relay, &a).await;
    let (mut receiver, _) = Peer::attach(&relay, &b).await;
    sender.open(16, b.id()).await;
    sender.send_datagram(16, b"one");
    let payload = Bytes::from_static(b"one");
    assert_eq!(receiver.datagram().await, Datagram::Long { sender: a.id().prefix(), payload });
    let Frame::Sender { alias, peer } = receiver.next().await else { panic!("no SENDER") };
    assert_eq!(peer, a.id());
    receiver.say(Frame::SenderOk { alias }).await;
    // The acknowledgement and the datagram race; soon it is the short form.
    for _ in 0..200 {
        sender.send_datagram(16, b"two");
        if let Datagram::Aliased { alias: short, payload } = receiver.datagram().await {
            assert_eq!((short, &payload[..]), (alias, &b"two"[..]));
            return relay.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the alias is never used");
}

#[tokio::test]
async fn a_full_datagram_fits_in_both_forms() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, welcome) = Peer::attach(&relay, &a).await;
    let (receiver, _) = Peer::attach(&relay, &b).await;
    sender.open(16, b.id()).await;
    let full = vec![5; usize::try_from(welcome.max_datagram).unwrap()];
    sender.send_datagram(16, &full);
    assert_eq!(receiver.payload().await, full);
    relay.stop().await;
}

#[tokio::test]
async fn datagrams_stay_in_order_however_many_come_at_once() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, _) = Peer::attach(&relay, &a).await;
    let (receiver, _) = Peer::attach(&relay, &b).await;
    sender.open(16, b.id()).await;
    // Single ones pass the queue by, and of a burst some wait in it: what comes next must not overtake them.
    let mut last = 0;
    for number in 1..=2000_u32 {
        let mut payload = vec![0; 1000];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        sender.send_datagram(16, &payload);
        if number % 20 == 0 || number % 7 == 0 {
            let came = receiver.payload().await;
            let came = u32::from_be_bytes(came[..4].try_into().unwrap());
            assert!(came > last, "{came} after {last}");
            last = came;
        }
    }
    assert!(last > 100, "only {last} of 2000 came");
    relay.stop().await;
}

#[tokio::test]
async fn of_what_comes_at_once_each_goes_where_it_belongs_in_order() {
    let relay = pool::one().await;
    let [a, b, c] = [1, 2, 3].map(Who::new);
    let (mut sender, _) = Peer::attach(&relay, &a).await;
    let (one, _) = Peer::attach(&relay, &b).await;
    let (other, _) = Peer::attach(&relay, &c).await;
    sender.open(16, b.id()).await;
    sender.open(17, c.id()).await;
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    // Each pattern is sent at once: runs on one route, a change of the route, and between them what is on none.
    for pattern in ["1111122222", "1212121212", "11u11r22e2", "1", "u1", "e2", "2rrruuu222"] {
        for (number, what) in pattern.bytes().enumerate() {
            let payload = [pattern.as_bytes(), &[number as u8]].concat();
            match what {
                b'1' => {
                    sender.send_datagram(16, &payload);
                    ones.push(payload);
                }
                b'2' => {
                    sender.send_datagram(17, &payload);
                    others.push(payload);
                }
                b'u' => sender.send_datagram(18, &payload),
                b'r' => sender.send_datagram(9, &payload),
                _ => sender.connection.send_datagram(datagram::echo([7; 8])).unwrap(),
            }
        }
        for sent in ones.drain(..) {
            assert_eq!(one.payload().await, sent, "of {pattern}");
        }
        for sent in others.drain(..) {
            assert_eq!(other.payload().await, sent, "of {pattern}");
        }
    }
    for _ in 0..2 {
        assert_eq!(sender.datagram().await, Datagram::EchoReply { nonce: [7; 8] });
    }
    let counted = |what: &str| pool::count(&relay, what);
    // The receivers have all of theirs; what is on no route came before the last of these.
    assert_eq!(counted(r#"baton_relay_dropped_total{reason="unknown_alias"}"#), 5);
    assert_eq!(counted(r#"baton_relay_dropped_total{reason="malformed"}"#), 4);
    assert_eq!(counted(r#"baton_relay_datagrams_total{direction="in"}"#), 34 + 5);
    assert_eq!(counted(r#"baton_relay_datagrams_total{direction="out"}"#), 34);
    relay.stop().await;
}

#[tokio::test]
async fn a_datagram_for_nobody_is_answered_with_a_notice() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    peer.send_datagram(16, b"anyone?");
    assert_eq!(peer.next().await, Frame::Notice { alias: 16, code: NoticeCode::Offline });
    assert!(relay.metrics().contains(r#"baton_relay_dropped_total{reason="offline"} 1"#));
    relay.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_a_peer_come_and_go() {
    let relay = pool::one().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut watcher, _) = Peer::attach(&relay, &a).await;
    watcher.say(Frame::Watch { peer: b.id() }).await;
    let presence = |sequence, state| Frame::Presence { sequence, peer: b.id(), state };
    assert_eq!(watcher.next().await, presence(1, PeerState::Offline));
    let (peer, _) = Peer::attach(&relay, &b).await;
    assert_eq!(watcher.next().await, presence(2, PeerState::Online));
    peer.connection.close(0_u32.into(), b"");
    assert_eq!(watcher.next().await, presence(3, PeerState::Offline));
    relay.stop().await;
}

#[tokio::test]
async fn a_peer_of_another_group_is_never_seen() {
    let relay = pool::start("a", pool::tokens());
    relay.set_seeds(baton_relay::seeds::Seeds::default());
    relay.ready().await;
    let (a, b) = (Who::new(1), Who::new(2));
    let hello = |who: &Who, group: &str| {
        let claims = json!({"aud": pool::POOL, "exp": 4_000_000_000_u64, "grp": group});
        who.hello(Intent::Fresh, pool::token(&claims), Bytes::new())
    };
    let (mut watcher, _) = Peer::attach_with(&relay, &a, hello(&a, "one")).await;
    watcher.open(16, b.id()).await;
    watcher.say(Frame::Watch { peer: b.id() }).await;
    let presence = |sequence, state| Frame::Presence { sequence, peer: b.id(), state };
    assert_eq!(watcher.next().await, presence(1, PeerState::Offline));
    let (other, _) = Peer::attach_with(&relay, &b, hello(&b, "two")).await;
    other.connection.close(0_u32.into(), b"");
    pool::until("it is gone", || relay.status().sessions == 1).await;
    // It comes into the watcher's group, and leaves it for another.
    let (_one, _) = Peer::attach_with(&relay, &b, hello(&b, "one")).await;
    assert_eq!(watcher.next().await, presence(2, PeerState::Online));
    assert_eq!(watcher.next().await, Frame::RouteRefreshed { peer: b.id() });
    let (two, _) = Peer::attach_with(&relay, &b, hello(&b, "two")).await;
    assert_eq!(watcher.next().await, presence(3, PeerState::Offline));
    two.connection.close(0_u32.into(), b"");
    pool::until("it is gone", || relay.status().sessions == 1).await;
    let (_again, _) = Peer::attach_with(&relay, &b, hello(&b, "one")).await;
    assert_eq!(watcher.next().await, presence(4, PeerState::Online), "nothing in between");
    relay.stop().await;
}

#[tokio::test]
async fn a_burst_is_answered_however_long_it_is() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    let (peers, count) = (PeerId::from_bytes([9; 32]), 3000_u64);
    let frames = (100..100 + count).flat_map(|alias| {
        [Frame::Open { alias, peer: peers }.encode(), Frame::Shut { alias }.encode()].concat()
    });
    peer.write(&frames.collect::<Vec<_>>()).await;
    for alias in 100..100 + count {
        assert_eq!(peer.next().await, Frame::Opened { alias });
    }
    relay.stop().await;
}

#[tokio::test]
async fn who_asks_and_never_reads_is_closed() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let mut deaf = Peer::connect_deaf(relay.address()).await.unwrap();
    deaf.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    for number in 0..1000 {
        let peer = PeerId::from_bytes([u8::try_from(number % 256).unwrap(); 32]);
        deaf.say(Frame::Open { alias: 100 + number, peer }).await;
    }
    let limit = u64::from(baton_protocol::close::CloseCode::LimitExceeded.code());
    assert_eq!(deaf.closed().await, limit);
    relay.stop().await;
}
