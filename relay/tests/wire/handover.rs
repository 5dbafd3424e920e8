//! Handovers that do not go as planned.

use std::time::Duration;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, PeerState};
use baton_protocol::id::{Instance, PeerId, Stamp};
use baton_relay::Relay;
use baton_relay::auth::Mode;
use baton_relay::seeds::Seeds;
use bytes::Bytes;

use crate::peer::{Peer, Who};
use crate::pool;

/// Attaches a standby of `who`.
pub(crate) async fn standby(relay: &Relay, who: &Who, ticket: Bytes) -> Peer {
    Peer::attach_with(relay, who, who.hello(Intent::Handover, Bytes::new(), ticket)).await.0
}

/// Makes a standby the home. Gives its stamp.
pub(crate) async fn activate(standby: &mut Peer) -> Stamp {
    standby.say(Frame::Active).await;
    let Frame::ActiveOk { stamp } = standby.next().await else { panic!("no ACTIVE_OK") };
    stamp
}

/// Waits until a relay reports this of a peer that is watched from now on. Gives the number of that report.
pub(crate) async fn seen(watcher: &mut Peer, peer: PeerId, wanted: PeerState) -> u64 {
    watcher.say(Frame::Watch { peer }).await;
    loop {
        match watcher.next().await {
            Frame::Presence { state, sequence, .. } if state == wanted => return sequence,
            _ => {}
        }
    }
}

pub(crate) async fn stop(relays: impl IntoIterator<Item = Relay>) {
    for relay in relays {
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_handover_that_fails_after_active_falls_back_to_the_session_that_was_never_left() {
    let relays = pool::linked(3).await;
    let (a, b) = (Who::new(1), Who::new(2));
    let (old, welcome) = Peer::attach(&relays[0], &b).await;
    let mut new = standby(&relays[1], &b, welcome.ticket).await;
    activate(&mut new).await;
    let (mut near, _) = Peer::attach(&relays[0], &a).await;
    let (mut far, _) = Peer::attach(&relays[2], &Who::new(3)).await;
    pool::until("all know of all", || relays.iter().all(|relay| relay.status().mesh.peers == 3))
        .await;
    for sender in [&mut near, &mut far] {
        sender.open(16, b.id()).await;
        seen(sender, b.id(), PeerState::Online).await;
    }
    new.connection.close(0_u32.into(), b"");
    for sender in [&mut near, &mut far] {
        // A relay that hears of both at once tells nothing; one that hears of the end first tells both.
        seen_home(sender, &old).await;
    }
    assert!(old.connection.close_reason().is_none());
    stop(relays).await;
}

/// Waits until what `sender` sends comes to `receiver`.
pub(crate) async fn seen_home(sender: &mut Peer, receiver: &Peer) {
    for _ in 0..200 {
        sender.send_datagram(16, b"there?");
        let came = receiver.connection.read_datagram();
        if tokio::time::timeout(Duration::from_millis(50), came).await.is_ok() {
            return;
        }
    }
    panic!("nothing comes");
}

#[tokio::test]
async fn the_standby_of_a_process_that_was_superseded_is_told_so() {
    let relays = pool::linked(2).await;
    let first = Who::new(2);
    let second = Who { instance: Instance::from_bytes([9; 16]), ..first.clone() };
    let (loser, welcome) = Peer::attach(&relays[0], &first).await;
    let mut late = standby(&relays[1], &first, welcome.ticket).await;
    let (winner, _) = Peer::attach(&relays[0], &second).await;
    let superseded = u64::from(CloseCode::Superseded.code());
    assert_eq!(loser.closed().await, superseded);
    // It may know already that it has lost, or learn it now.
    let _ = late.try_say(Frame::Active).await;
    assert_eq!(late.closed().await, superseded);
    let (mut watcher, _) = Peer::attach(&relays[1], &Who::new(1)).await;
    seen(&mut watcher, first.id(), PeerState::Online).await;
    assert!(winner.connection.close_reason().is_none());
    stop(relays).await;
}

#[tokio::test]
async fn a_link_made_during_a_handover_tells_nobody_of_it() {
    let relays = [pool::start("a", Mode::Open), pool::start("b", Mode::Open)];
    for relay in &relays {
        relay.set_seeds(Seeds::default());
        relay.ready().await;
    }
    let b = Who::new(2);
    let (mut watcher, _) = Peer::attach(&relays[0], &Who::new(1)).await;
    let (mut old, welcome) = Peer::attach(&relays[0], &b).await;
    let watched = seen(&mut watcher, b.id(), PeerState::Online).await;
    let mut new = standby(&relays[1], &b, welcome.ticket).await;
    let stamp = activate(&mut new).await;
    relays[1].set_seeds(Seeds { addresses: vec![relays[0].mesh_address()] });
    pool::until("they are linked", || relays.iter().all(|relay| relay.status().mesh.links == 1))
        .await;
    old.say(Frame::Moved { stamp, relay: relays[1].id() }).await;
    assert_eq!(old.next().await, Frame::MovedOk);
    old.connection.close(1_u32.into(), b"moved");
    new.connection.close(0_u32.into(), b"");
    let next = watcher.next().await;
    let Frame::Presence { sequence, state: PeerState::Offline, .. } = next else {
        panic!("{next:?} instead of the end")
    };
    assert_eq!(sequence, watched + 1, "nothing before it");
    stop(relays).await;
}

#[tokio::test]
async fn a_home_that_a_client_makes_up_does_not_last() {
    let relays = pool::linked(2).await;
    let (mut liar, welcome) = Peer::attach(&relays[0], &Who::new(1)).await;
    let stamp = Stamp::from_u64(welcome.stamp.as_u64() + 1000);
    liar.say(Frame::Moved { stamp, relay: relays[1].id() }).await;
    assert_eq!(liar.next().await, Frame::MovedOk);
    liar.connection.close(0_u32.into(), b"");
    pool::until("it is gone", || relays[0].status().mesh.peers == 0).await;
    stop(relays).await;
}

#[tokio::test]
async fn a_peer_has_one_standby_and_not_for_long() {
    let relays = pool::linked(2).await;
    let who = Who::new(1);
    let (_home, welcome) = Peer::attach(&relays[0], &who).await;
    let first = standby(&relays[1], &who, welcome.ticket.clone()).await;
    let mut second = standby(&relays[1], &who, welcome.ticket.clone()).await;
    assert_eq!(first.closed().await, u64::from(CloseCode::Moved.code()));
    activate(&mut second).await;
    assert_eq!(relays[1].status().sessions, 1);
    let idle = standby(&relays[1], &who, welcome.ticket).await;
    assert_eq!(idle.closed().await, u64::from(CloseCode::LimitExceeded.code()));
    assert!(second.connection.close_reason().is_none());
    stop(relays).await;
}

#[tokio::test]
async fn a_session_that_has_moved_does_not_stay() {
    let relays = pool::linked(2).await;
    let who = Who::new(1);
    let (mut old, welcome) = Peer::attach(&relays[0], &who).await;
    let mut new = standby(&relays[1], &who, welcome.ticket).await;
    let stamp = activate(&mut new).await;
    old.say(Frame::Moved { stamp, relay: relays[1].id() }).await;
    assert_eq!(old.next().await, Frame::MovedOk);
    assert_eq!(old.closed().await, u64::from(CloseCode::Moved.code()));
    assert!(new.connection.close_reason().is_none());
    stop(relays).await;
}
