//! Handovers that are taken back.

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, PeerState};
use baton_protocol::id::{Instance, Stamp};
use baton_relay::Relay;
use baton_relay::auth::Mode;
use baton_relay::seeds::Seeds;
use bytes::Bytes;

use crate::handover::{activate, seen, seen_home, standby, stop};
use crate::peer::{Peer, Who};
use crate::pool;

/// Takes a handover back. Gives what RECLAIMED says.
async fn reclaim(old: &mut Peer, ticket: Bytes) -> (Stamp, Bytes) {
    old.say(Frame::Reclaim { ticket }).await;
    match answer(old).await {
        Frame::Reclaimed { stamp, ticket } => (stamp, ticket),
        other => panic!("{} instead of RECLAIMED", other.name()),
    }
}

/// The next frame that is not about senders.
async fn answer(peer: &mut Peer) -> Frame {
    loop {
        match peer.next().await {
            Frame::Sender { .. } => {}
            other => return other,
        }
    }
}

/// Attaches a standby; gives its WELCOME's ticket, too.
async fn standby_with(relay: &Relay, who: &Who, ticket: Bytes) -> (Peer, Bytes) {
    let hello = who.hello(Intent::Handover, Bytes::new(), ticket);
    let (peer, welcome) = Peer::attach_with(relay, who, hello).await;
    (peer, welcome.ticket)
}

async fn moved(old: &mut Peer, stamp: Stamp, to: &Relay) {
    old.say(Frame::Moved { stamp, relay: to.id() }).await;
    assert_eq!(answer(old).await, Frame::MovedOk);
}

#[tokio::test]
async fn a_session_that_is_reclaimed_is_home_for_all_and_moves_the_next_time() {
    let relays = pool::linked(3).await;
    for (number, said_moved) in [(1, false), (2, true)] {
        let b = Who::new(number);
        let (mut old, welcome) = Peer::attach(&relays[0], &b).await;
        let (mut new, failed) = standby_with(&relays[1], &b, welcome.ticket).await;
        let given = activate(&mut new).await;
        let (mut far, _) = Peer::attach(&relays[2], &Who::new(10 + number)).await;
        far.open(16, b.id()).await;
        let first = seen(&mut far, b.id(), PeerState::Online).await;
        if said_moved {
            moved(&mut old, given, &relays[1]).await;
        }
        // The other session is not known to have failed: it counts no more all the same.
        let (again, ticket) = reclaim(&mut old, failed).await;
        assert!(again > given, "{again} after {given}");
        seen_home(&mut far, &old).await;
        new.connection.close(0_u32.into(), b"");
        seen_home(&mut far, &old).await;

        let mut next = standby(&relays[1], &b, ticket).await;
        let last = activate(&mut next).await;
        assert!(last > again, "{last} after {again}");
        moved(&mut old, last, &relays[1]).await;
        seen_home(&mut far, &next).await;
        old.connection.close(CloseCode::Moved.code().into(), b"");
        next.connection.close(0_u32.into(), b"");
        let gone = loop {
            if let Frame::Presence { sequence, state, .. } = far.next().await {
                break (sequence, state);
            }
        };
        assert_eq!(gone, (first + 1, PeerState::Offline), "nobody was told anything before");
    }
    assert!(relays[0].metrics().contains("baton_relay_reclaims_total 2"));
    stop(relays).await;
}

#[tokio::test]
async fn news_of_the_failed_session_that_comes_late_has_the_lower_stamp() {
    // They hear nothing of each other yet.
    let relays = ["a", "b"].map(|name| pool::start(name, Mode::Open));
    for relay in &relays {
        relay.set_seeds(Seeds::default());
        relay.ready().await;
    }
    let b = Who::new(1);
    let (mut old, welcome) = Peer::attach(&relays[0], &b).await;
    let (mut new, failed) = standby_with(&relays[1], &b, welcome.ticket).await;
    let given = activate(&mut new).await;
    let (again, _) = reclaim(&mut old, failed).await;
    assert!(again > given, "{again} after {given}");
    relays[0].set_seeds(Seeds { addresses: vec![relays[1].mesh_address()] });
    pool::until("they are linked", || relays.iter().all(|relay| relay.status().mesh.links == 1))
        .await;
    for relay in &relays {
        let (mut sender, _) = Peer::attach(relay, &Who::new(7)).await;
        sender.open(16, b.id()).await;
        seen_home(&mut sender, &old).await;
    }
    assert!(old.connection.close_reason().is_none());
    stop(relays).await;
}

#[tokio::test]
async fn a_ticket_that_is_no_good_is_not_looked_at() {
    let relays = pool::linked(2).await;
    let (b, other) = (Who::new(1), Who::new(2));
    let (mut old, welcome) = Peer::attach(&relays[0], &b).await;
    let (_other, others) = Peer::attach(&relays[1], &other).await;
    let mut before = welcome.stamp;
    for ticket in [others.ticket, Bytes::from_static(b"forged"), Bytes::new(), welcome.ticket] {
        let (stamp, _) = reclaim(&mut old, ticket).await;
        assert!(stamp > before, "{stamp} after {before}");
        before = stamp;
    }
    stop(relays).await;
}

#[tokio::test]
async fn a_session_that_goes_and_comes_back_without_end_is_closed() {
    let relay = pool::one().await;
    let (mut peer, welcome) = Peer::attach(&relay, &Who::new(1)).await;
    let reclaims = (0..64).flat_map(|_| Frame::Reclaim { ticket: welcome.ticket.clone() }.encode());
    peer.write(&reclaims.collect::<Vec<_>>()).await;
    assert_eq!(peer.closed().await, u64::from(CloseCode::LimitExceeded.code()));
    let metrics = relay.metrics();
    let line = metrics.lines().find(|line| line.starts_with("baton_relay_reclaims_total "));
    let count: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((8..16).contains(&count), "{count}");
    relay.stop().await;
}

#[tokio::test]
async fn a_standby_has_nothing_to_take_back() {
    let relays = pool::linked(2).await;
    let b = Who::new(1);
    let (_old, welcome) = Peer::attach(&relays[0], &b).await;
    let (mut new, ticket) = standby_with(&relays[1], &b, welcome.ticket).await;
    new.say(Frame::Reclaim { ticket }).await;
    assert_eq!(new.closed().await, u64::from(CloseCode::ProtocolViolation.code()));
    stop(relays).await;
}

#[tokio::test]
async fn a_process_whose_place_another_has_taken_takes_nothing_back() {
    let relays = pool::linked(2).await;
    let b = Who::new(1);
    let (mut old, welcome) = Peer::attach(&relays[0], &b).await;
    // A session that only its client speaks of: after a while nobody believes it any more, and the peer is offline.
    let far = Stamp::from_u64(welcome.stamp.as_u64() + 1);
    moved(&mut old, far, &relays[1]).await;
    let gone = || relays[0].status().mesh.peers == 0;
    pool::until("the peer is gone", gone).await;
    let another = Who { instance: Instance::from_bytes([9; 16]), ..b.clone() };
    let (_another, _) = Peer::attach(&relays[1], &another).await;
    pool::until("another is there", || relays[0].status().mesh.peers == 1).await;
    let _ = old.try_say(Frame::Reclaim { ticket: welcome.ticket }).await;
    assert_eq!(old.closed().await, u64::from(CloseCode::Superseded.code()));
    stop(relays).await;
}
