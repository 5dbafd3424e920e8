//! Who is not let in learns no more than if there were nobody.

use baton_protocol::frame::{Frame, NoticeCode, PeerState, PolicyMode, RuleVerb};
use baton_protocol::id::PeerId;

use super::{PLACES, dropped, join, know, policy, relays, rule, set, stop, told};
use crate::peer::{Peer, Who};

/// Watches a peer, opens a route to it and sends something. Gives the answers, without the peer's name.
async fn looks_like(sender: &mut Peer, peer: PeerId) -> Vec<String> {
    let mut seen = Vec::new();
    let mut see = |frame: Frame| match frame {
        Frame::Presence { sequence, state, .. } => seen.push(format!("{state:?} {sequence}")),
        other => seen.push(format!("{other:?}")),
    };
    sender.say(Frame::Watch { peer }).await;
    see(sender.next().await);
    sender.say(Frame::Open { alias: 16, peer }).await;
    see(sender.next().await);
    sender.send_datagram(16, b"anyone?");
    see(sender.next().await);
    seen
}

#[tokio::test]
async fn a_peer_that_does_not_let_a_stranger_in_looks_like_one_that_is_not_there() {
    let [receiver, friend, stranger, other, nobody] = [1, 2, 3, 4, 5].map(Who::new);
    let policies = [
        (vec![], "offline"),
        // These let some strangers in, so relays ask the receiver's about each.
        (vec![rule(RuleVerb::Allow, friend.id()), policy(PolicyMode::List)], "policy"),
        (vec![rule(RuleVerb::Block, stranger.id()), policy(PolicyMode::Any)], "policy"),
    ];
    for count in PLACES {
        for (changes, reason) in &policies {
            let relays = relays(count).await;
            let (near, far) = (&relays[0], &relays[count - 1]);
            let mut home = join(near, &receiver, "a").await;
            for change in changes {
                assert_eq!(set(&mut home, change.clone()).await, []);
            }
            let mut known = join(far, &friend, "a").await;
            let mut one = join(far, &stranger, "b").await;
            let mut two = join(far, &other, "b").await;
            know(&relays, 4).await;
            let of_nobody = looks_like(&mut two, nobody.id()).await;
            let of_somebody = looks_like(&mut one, receiver.id()).await;
            assert_eq!(of_somebody, of_nobody, "{changes:?}, {count}");
            let counted: u64 = relays.iter().map(|relay| dropped(relay, reason)).sum();
            assert!(counted > 0, "{changes:?}, {count}");
            // And it neither hears of it nor gets anything.
            known.open(16, receiver.id()).await;
            known.send_datagram(16, b"of the group");
            assert_eq!(home.payload().await, &b"of the group"[..]);
            let told = told(&mut home).await;
            assert!(
                matches!(told[..], [Frame::Sender { peer, .. }] if peer == friend.id()),
                "{told:?}"
            );
            stop(relays).await;
        }
    }
}

#[tokio::test]
async fn a_blocked_peer_of_the_group_hears_what_it_would_of_nobody_and_not_more_often() {
    let [receiver, blocked] = [1, 2].map(Who::new);
    for count in PLACES {
        let relays = relays(count).await;
        let mut home = join(&relays[0], &receiver, "a").await;
        set(&mut home, rule(RuleVerb::Block, blocked.id())).await;
        let mut sender = join(&relays[count - 1], &blocked, "a").await;
        know(&relays, 2).await;
        sender.open(16, receiver.id()).await;
        for number in 1..=20 {
            sender.send_datagram(16, b"let me in");
            crate::pool::until("it is dropped", || dropped(&relays[0], "policy") == number).await;
        }
        let notice = Frame::Notice { alias: 16, code: NoticeCode::Offline };
        assert_eq!(sender.next().await, notice);
        let more = told(&mut sender).await;
        assert!(more.len() <= 1, "once a second: {more:?}");
        // Presence goes by groups.
        sender.say(Frame::Watch { peer: receiver.id() }).await;
        assert!(matches!(sender.next().await, Frame::Presence { state: PeerState::Online, .. }));
        assert_eq!(told(&mut home).await, []);
        stop(relays).await;
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_in_another_group_is_judged_by_that() {
    for count in PLACES {
        let relays = relays(count).await;
        let [receiver, sender] = [1, 2].map(Who::new);
        let home = join(&relays[0], &receiver, "a").await;
        let mut first = join(&relays[count - 1], &sender, "a").await;
        know(&relays, 2).await;
        first.open(16, receiver.id()).await;
        first.send_datagram(16, b"of the group");
        assert_eq!(home.payload().await, &b"of the group"[..]);
        let mut second = join(&relays[count - 1], &sender, "b").await;
        second.open(16, receiver.id()).await;
        second.send_datagram(16, b"of another");
        assert_eq!(second.next().await, Frame::Notice { alias: 16, code: NoticeCode::Offline });
        let mut third = join(&relays[count - 1], &sender, "a").await;
        third.open(16, receiver.id()).await;
        third.send_datagram(16, b"back");
        assert_eq!(home.payload().await, &b"back"[..]);
        stop(relays).await;
    }
}
