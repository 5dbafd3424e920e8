//! Peers on different relays.

use std::time::Duration;

use baton_protocol::frame::{Frame, Intent, PeerState};
use baton_protocol::id::Stamp;
use baton_relay::auth::Mode;
use baton_relay::seeds::Seeds;
use bytes::Bytes;

use crate::peer::{Peer, Who};
use crate::pool;

#[tokio::test]
async fn two_peers_on_different_relays_reach_each_other() {
    let relays = pool::linked(3).await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, _) = Peer::attach(&relays[0], &a).await;
    sender.say(Frame::Watch { peer: b.id() }).await;
    assert!(matches!(sender.next().await, Frame::Presence { state: PeerState::Offline, .. }));
    let (receiver, _) = Peer::attach(&relays[2], &b).await;
    assert!(matches!(sender.next().await, Frame::Presence { state: PeerState::Online, .. }));
    sender.open(16, b.id()).await;
    let full = vec![7; 1200];
    sender.send_datagram(16, &full);
    assert_eq!(receiver.payload().await, full);
    assert!(relays[0].metrics().contains(r#"baton_relay_bytes_total{direction="mesh_out"} 1200"#));
    assert!(relays[2].metrics().contains(r#"baton_relay_bytes_total{direction="mesh_in"} 1200"#));
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_relay_that_knows_one_sibling_learns_of_the_others() {
    let mut relays = pool::linked(3).await;
    let newcomer = pool::start("newcomer", Mode::Open);
    newcomer.set_seeds(Seeds { addresses: vec![relays[1].mesh_address()] });
    newcomer.ready().await;
    relays.push(newcomer);
    for relay in &relays {
        pool::until("every relay is linked to every other", || relay.status().mesh.links == 3)
            .await;
    }
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_handover_to_another_relay_is_seen_by_nobody_and_loses_nothing() {
    let relays = pool::linked(3).await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, _) = Peer::attach(&relays[0], &a).await;
    let (mut old, welcome) = Peer::attach(&relays[1], &b).await;
    pool::until("the sender's relay knows of the receiver", || relays[0].status().mesh.peers == 2)
        .await;
    sender.open(16, b.id()).await;
    sender.say(Frame::Watch { peer: b.id() }).await;
    assert!(matches!(
        sender.next().await,
        Frame::Presence { sequence: 1, state: PeerState::Online, .. }
    ));

    let handover = b.hello(Intent::Handover, Bytes::new(), welcome.ticket);
    let (mut new, standby) = Peer::attach_with(&relays[2], &b, handover).await;
    assert!(standby.stamp > welcome.stamp);
    sender.send_datagram(16, b"to the old one");
    assert_eq!(old.payload().await, &b"to the old one"[..], "a standby is not home");

    new.say(Frame::Active).await;
    let Frame::ActiveOk { stamp } = new.next().await else { panic!("no ACTIVE_OK") };
    old.say(Frame::Moved { stamp, relay: relays[2].id() }).await;
    // A sender that was connected to the old relay may have sent SENDER in between.
    while old.next().await != Frame::MovedOk {}
    // Every datagram comes at one of the two, whatever the sender's relay knows.
    for number in 0..100_u8 {
        sender.send_datagram(16, &[number]);
        tokio::select! {
            payload = new.payload() => assert_eq!(payload, &[number][..]),
            payload = old.payload() => assert_eq!(payload, &[number][..]),
        }
    }
    pool::until("it comes to the new one only", || {
        relays[2].metrics().contains(r#"baton_relay_handovers_total{class="none",result="ok"} 1"#)
    })
    .await;
    old.connection.close(1_u32.into(), b"moved");
    pool::until("the old session is gone", || relays[1].status().sessions == 0).await;
    sender.send_datagram(16, b"to the new one");
    assert_eq!(new.payload().await, &b"to the new one"[..]);
    // Nothing was said to the watcher: the next thing that it hears is the end.
    new.connection.close(0_u32.into(), b"");
    let next = loop {
        match sender.next().await {
            Frame::Presence { sequence, state, .. } => break (sequence, state),
            _ => continue,
        }
    };
    assert_eq!(next, (2, PeerState::Offline));
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_stamp_that_a_client_makes_up_is_not_believed() {
    let relays = pool::linked(2).await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (mut sender, _) = Peer::attach(&relays[0], &a).await;
    let (mut liar, _) = Peer::attach(&relays[0], &b).await;
    liar.say(Frame::Moved { stamp: Stamp::from_u64(u64::MAX), relay: relays[1].id() }).await;
    assert_eq!(liar.next().await, Frame::MovedOk);
    let (honest, _) = Peer::attach(&relays[1], &b).await;
    pool::until("the new attachment is known", || relays[0].status().mesh.peers == 2).await;
    sender.open(16, b.id()).await;
    sender.send_datagram(16, b"hello");
    assert_eq!(honest.payload().await, &b"hello"[..]);
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_relay_that_ends_takes_its_peers_with_it_at_once() {
    let mut relays = pool::linked(2).await;
    let b = Who::new(2);
    let (mut watcher, _) = Peer::attach(&relays[0], &Who::new(1)).await;
    let (_peer, _) = Peer::attach(&relays[1], &b).await;
    pool::until("the sibling knows of it", || relays[0].status().mesh.peers == 2).await;
    watcher.say(Frame::Watch { peer: b.id() }).await;
    assert!(matches!(watcher.next().await, Frame::Presence { state: PeerState::Online, .. }));
    relays.pop().unwrap().stop().await;
    assert!(matches!(watcher.next().await, Frame::Presence { state: PeerState::Offline, .. }));
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_relay_with_the_same_id_is_no_sibling() {
    let relays = [("one name", 0), ("one name", 1)].map(|(name, _)| pool::start(name, Mode::Open));
    assert_eq!(relays[0].id(), relays[1].id());
    relays[0].set_seeds(Seeds::default());
    relays[1].set_seeds(Seeds { addresses: vec![relays[0].mesh_address()] });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for relay in relays {
        assert_eq!(relay.status().mesh.links, 0);
        relay.stop().await;
    }
}

#[tokio::test]
async fn relays_that_listen_everywhere_find_each_other() {
    let everywhere = || "0.0.0.0:0".parse().unwrap();
    let relays = ["a", "b"].map(|name| pool::start_at(name, everywhere()));
    let port = relays[0].mesh_address().port();
    relays[0].set_seeds(Seeds::default());
    relays[1].set_seeds(Seeds { addresses: vec![([127, 0, 0, 1], port).into()] });
    pool::until("they are linked", || relays.iter().all(|relay| relay.status().mesh.links == 1))
        .await;
    for relay in relays {
        relay.stop().await;
    }
}
