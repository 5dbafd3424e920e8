use std::sync::atomic::AtomicU64;

use baton_protocol::attachment::{Attachment, Output, Timing};
use baton_protocol::datagram::Datagram;

use super::*;

/// Slots come from an attachment only: this one dials, fails and dials again.
fn slots<const N: usize>() -> [Slot; N] {
    use baton_protocol::attachment::DialFailure;
    let now = Instant::now();
    let mut attachment = Attachment::new(Timing { turned_away: 100, ..Timing::default() }, 1, now);
    std::array::from_fn(|_| {
        let Some(Output::Dial { slot, .. }) = attachment.poll_output() else { panic!("no dial") };
        attachment.handle_dial_failure(slot, DialFailure::TurnedAway, now);
        slot
    })
}

fn queue(routes: &Routes) -> Arc<SendQueue> {
    Arc::new(SendQueue::new(routes.room.clone(), Arc::new(AtomicU64::new(0))))
}

impl Routes {
    fn frames(&self, slot: Slot) -> Vec<Frame> {
        self.shut_frames().into_iter().chain(self.open_frames(slot)).collect()
    }
}

async fn sent(queue: &SendQueue) -> (u64, Bytes) {
    let datagram = tokio::time::timeout(Duration::from_secs(1), queue.pop())
        .await
        .expect("nothing was sent")
        .unwrap();
    let Ok(Datagram::Aliased { alias, payload }) = Datagram::decode(&datagram) else {
        panic!("{datagram:?}")
    };
    (alias, payload)
}

fn opens(frames: &[Frame]) -> Vec<u64> {
    frames
        .iter()
        .filter_map(|frame| if let Frame::Open { alias, .. } = frame { Some(*alias) } else { None })
        .collect()
}

const PEER: PeerId = PeerId::from_bytes([1; 32]);

#[tokio::test]
async fn what_is_sent_before_the_route_is_open_waits_for_it() {
    let (routes, now, [home]) = (Routes::new(), Instant::now(), slots());
    let queue = queue(&routes);
    routes.use_session(home, queue.clone(), 10);
    routes.send(PEER, b"early", now).unwrap();
    let [alias] = opens(&routes.frames(home))[..] else { panic!() };
    assert_eq!(routes.frames(home), [], "asked once");
    routes.opened(home, alias);
    assert_eq!(sent(&queue).await, (alias, Bytes::from("early")));
    routes.send(PEER, b"late", now).unwrap();
    assert_eq!(sent(&queue).await, (alias, Bytes::from("late")));
}

#[tokio::test]
async fn a_route_moves_when_the_new_session_is_in_use_and_has_opened_it() {
    let (routes, now, [old, new]) = (Routes::new(), Instant::now(), slots());
    let (old_queue, new_queue) = (queue(&routes), queue(&routes));
    routes.use_session(old, old_queue.clone(), 10);
    routes.send(PEER, b"0", now).unwrap();
    let other = PeerId::from_bytes([2; 32]);
    routes.send(other, b"0", now).unwrap();
    let asked = opens(&routes.frames(old));
    asked.iter().for_each(|alias| assert!(routes.opened(old, *alias).is_some()));
    sent(&old_queue).await;
    sent(&old_queue).await;

    // The standby has WELCOME and opened one of them.
    assert_eq!(opens(&routes.frames(new)).len(), 2);
    let alias = lock(&routes.table).by_peer[&PEER].alias;
    routes.opened(new, alias);
    routes.send(PEER, b"1", now).unwrap();
    assert_eq!(sent(&old_queue).await.1, "1", "it is no home yet");
    routes.use_session(new, new_queue.clone(), 10);
    routes.send(PEER, b"2", now).unwrap();
    assert_eq!(sent(&new_queue).await.1, "2");
    routes.send(other, b"2", now).unwrap();
    assert_eq!(sent(&old_queue).await.1, "2", "not opened there yet");
    asked.iter().for_each(|alias| assert_eq!(routes.opened(new, *alias), None, "it could before"));
    routes.send(other, b"3", now).unwrap();
    assert_eq!(sent(&new_queue).await.1, "3");
    routes.closed(old);
    routes.send(other, b"4", now).unwrap();
    assert_eq!(sent(&new_queue).await.1, "4");
}

#[tokio::test]
async fn a_lost_session_holds_what_is_sent_until_the_next() {
    let (routes, now, [home, next]) = (Routes::new(), Instant::now(), slots());
    routes.use_session(home, queue(&routes), 10);
    let state = routes.hold(PEER, now).unwrap();
    let [alias] = opens(&routes.frames(home))[..] else { panic!() };
    routes.opened(home, alias);
    assert_eq!(*state.borrow(), RouteState::Open);
    routes.closed(home);
    assert_eq!(*state.borrow(), RouteState::Opening);
    assert_eq!(routes.send_inner(PEER, b"packet", now), Err(Full), "QUIC waits");
    assert!(!routes.can_send());
    (0..100).for_each(|_| routes.send(PEER, b"held", now).unwrap());
    let queue = queue(&routes);
    routes.frames(next);
    routes.use_session(next, queue.clone(), 10);
    assert!(routes.can_send());
    routes.opened(next, alias);
    for _ in 0..HELD {
        assert_eq!(sent(&queue).await, (alias, Bytes::from("held")));
    }
}

#[test]
fn a_route_refused_by_a_session_that_goes_away_is_asked_again_if_it_stays() {
    let (routes, now, [home]) = (Routes::new(), Instant::now(), slots());
    routes.use_session(home, queue(&routes), 10);
    let state = routes.hold(PEER, now).unwrap();
    let [alias] = opens(&routes.frames(home))[..] else { panic!() };
    routes.notice(home, alias, NoticeCode::GoingAway);
    assert_eq!(*state.borrow(), RouteState::Opening);
    assert_eq!(routes.frames(home), []);
    routes.may_ask_again(home);
    assert_eq!(opens(&routes.frames(home)), [alias]);
    routes.opened(home, alias);
    assert_eq!(*state.borrow(), RouteState::Open);
    routes.notice(home, alias, NoticeCode::Offline);
    assert_eq!(*state.borrow(), RouteState::Offline);
}

#[test]
fn routes_that_nobody_needs_make_room_and_held_ones_do_not() {
    let (routes, start, [home]) = (Routes::new(), Instant::now(), slots());
    routes.use_session(home, queue(&routes), 2);
    let held = routes.hold(PEER, start).unwrap();
    let peer = |n| PeerId::from_bytes([n; 32]);
    routes.send(peer(2), b"", start).unwrap();
    routes.frames(home);
    routes.send(peer(3), b"", start).unwrap();
    let frames = routes.frames(home);
    assert!(matches!(frames[..], [Frame::Shut { .. }, Frame::Open { .. }]), "{frames:?}");
    let also_held = routes.hold(peer(3), start).unwrap();
    assert_eq!(routes.send(peer(4), b"", start), Err(TooManyRoutes(2)));
    routes.sweep(start + UNUSED);
    assert_eq!(routes.frames(home), []);
    drop((held, also_held));
    routes.sweep(start + UNUSED);
    assert_eq!(routes.frames(home).len(), 2);
    assert!(lock(&routes.table).by_alias.is_empty());
}
