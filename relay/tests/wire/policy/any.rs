//! Strangers that are let in: by `any`, or by name.

use baton_protocol::frame::{
    CAPABILITY_POLICIES, Frame, Intent, NoticeCode, PeerState, PolicyMode, RuleVerb,
};
use baton_relay::seeds::Seeds;
use bytes::Bytes;

use super::{PLACES, dropped, greet, join, know, policy, relays, rule, set, stop, told};
use crate::handover::activate;
use crate::peer::{Peer, Who};
use crate::pool;

/// Sends until it comes, to a receiver of which its relay may not have heard yet that it lets strangers in.
async fn reaches(sender: &Peer, receiver: &Peer, payload: &'static [u8]) {
    for _ in 0..200 {
        sender.send_datagram(16, payload);
        let came = receiver.connection.read_datagram();
        if tokio::time::timeout(std::time::Duration::from_millis(50), came).await.is_ok() {
            return;
        }
    }
    panic!("nothing comes");
}

#[tokio::test]
async fn a_stranger_that_is_let_in_is_named_as_one_and_sees_no_more_of_the_peer_than_before() {
    let [receiver, friend, stranger, other] = [1, 2, 3, 4].map(Who::new);
    for count in PLACES {
        for by_name in [false, true] {
            let relays = relays(count).await;
            let (near, far) = (&relays[0], &relays[count - 1]);
            let mut home = join(near, &receiver, "a").await;
            let change = match by_name {
                true => rule(RuleVerb::Allow, stranger.id()),
                false => policy(PolicyMode::Any),
            };
            set(&mut home, change).await;
            let mut known = join(far, &friend, "a").await;
            let mut let_in = join(far, &stranger, "b").await;
            let mut refused = join(far, &other, "b").await;
            know(&relays, 4).await;
            let_in.say(Frame::Watch { peer: receiver.id() }).await;
            assert!(matches!(
                let_in.next().await,
                Frame::Presence { state: PeerState::Offline, .. }
            ));
            for (number, sender) in [&mut let_in, &mut known].into_iter().enumerate() {
                sender.open(16, receiver.id()).await;
                sender.send_datagram(16, &[number as u8]);
                assert_eq!(home.payload().await, &[number as u8][..]);
            }
            let strange = Frame::Stranger { peer: stranger.id() };
            let sender = |alias, who: &Who| Frame::Sender { alias, peer: who.id() };
            let expected = [strange, sender(16, &stranger), sender(17, &friend)];
            assert_eq!(told(&mut home).await, expected);
            home.say(Frame::SenderOk { alias: 16 }).await;
            assert_eq!(told(&mut home).await, []);
            let_in.send_datagram(16, b"by its alias");
            assert_eq!(home.payload().await, &b"by its alias"[..]);
            // By name it is that one and no other.
            refused.open(16, receiver.id()).await;
            refused.send_datagram(16, b"another");
            if by_name {
                let offline = Frame::Notice { alias: 16, code: NoticeCode::Offline };
                assert_eq!(refused.next().await, offline);
            } else {
                assert_eq!(home.payload().await, &b"another"[..]);
            }
            // Nobody of another group sees it come back.
            let again = join(near, &receiver, "a").await;
            assert!(matches!(known.next().await, Frame::RouteRefreshed { .. }));
            assert_eq!(told(&mut let_in).await, []);
            drop(again);
            stop(relays).await;
        }
    }
}

#[tokio::test]
async fn the_answer_goes_to_whom_the_asker_lets_in() {
    for count in PLACES {
        let relays = relays(count).await;
        let [asked, asks] = [1, 2].map(Who::new);
        let mut server = join(&relays[0], &asked, "a").await;
        set(&mut server, policy(PolicyMode::Any)).await;
        let mut client = join(&relays[count - 1], &asks, "b").await;
        know(&relays, 2).await;
        client.open(16, asked.id()).await;
        server.open(16, asks.id()).await;
        reaches(&client, &server, b"question").await;
        server.send_datagram(16, b"answer");
        while server.next().await != (Frame::Notice { alias: 16, code: NoticeCode::Offline }) {}
        set(&mut client, rule(RuleVerb::Allow, asked.id())).await;
        reaches(&server, &client, b"answer").await;
        stop(relays).await;
    }
}

#[tokio::test]
async fn a_policy_that_is_narrow_again_holds_with_the_next_datagram_everywhere() {
    for count in PLACES {
        let relays = relays(count).await;
        let [receiver, stranger] = [1, 2].map(Who::new);
        let mut home = join(&relays[0], &receiver, "a").await;
        set(&mut home, policy(PolicyMode::Any)).await;
        let mut sender = join(&relays[count - 1], &stranger, "b").await;
        know(&relays, 2).await;
        sender.open(16, receiver.id()).await;
        reaches(&sender, &home, b"any").await;
        set(&mut home, policy(PolicyMode::Group)).await;
        let before = dropped(&relays[0], "offline");
        for number in 1..=5 {
            sender.send_datagram(16, b"none");
            let counted = || dropped(&relays[0], "offline") >= before + number;
            pool::until("it is dropped", counted).await;
        }
        set(&mut home, policy(PolicyMode::Any)).await;
        sender.send_datagram(16, b"any again");
        while home.payload().await != b"any again"[..] {}
        stop(relays).await;
    }
}

#[tokio::test]
async fn a_relay_that_joins_later_hears_who_lets_strangers_in() {
    let mut relays = relays(1).await;
    let [receiver, stranger, narrow] = [1, 2, 3].map(Who::new);
    let mut home = join(&relays[0], &receiver, "a").await;
    set(&mut home, policy(PolicyMode::Any)).await;
    let _narrow = join(&relays[0], &narrow, "a").await;
    let newcomer = pool::start("newcomer", pool::tokens());
    newcomer.set_seeds(Seeds { addresses: vec![relays[0].mesh_address()] });
    newcomer.ready().await;
    relays.push(newcomer);
    let mut sender = join(&relays[1], &stranger, "b").await;
    know(&relays, 3).await;
    sender.open(16, receiver.id()).await;
    sender.send_datagram(16, b"hello");
    assert_eq!(home.payload().await, &b"hello"[..]);
    sender.open(17, narrow.id()).await;
    sender.send_datagram(17, b"hello");
    assert_eq!(sender.next().await, Frame::Notice { alias: 17, code: NoticeCode::Offline });
    assert_eq!(dropped(&relays[1], "offline"), 1, "it is not passed on at all");
    stop(relays).await;
}

#[tokio::test]
async fn a_handover_of_a_peer_that_lets_strangers_in_loses_none_of_what_they_send() {
    let relays = relays(3).await;
    let [receiver, stranger] = [1, 2].map(Who::new);
    let claims = serde_json::json!({"aud": pool::POOL, "exp": 4_000_000_000_u64, "grp": "a"});
    let hello = receiver.hello(Intent::Fresh, pool::token(&claims), Bytes::new());
    let (mut old, welcome) = greet(&relays[0], &receiver, hello, CAPABILITY_POLICIES).await;
    set(&mut old, policy(PolicyMode::Any)).await;
    let mut sender = join(&relays[2], &stranger, "b").await;
    know(&relays, 2).await;
    sender.open(16, receiver.id()).await;
    let connection = sender.connection.clone();
    let (stop_sending, stopped) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        let (mut number, mut stopped) = (0_u32, stopped);
        while stopped.try_recv().is_err() {
            number += 1;
            let datagram = baton_protocol::datagram::aliased(16, &number.to_be_bytes());
            connection.send_datagram(datagram).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        number
    });
    let read = |peer: &Peer| {
        let connection = peer.connection.clone();
        tokio::spawn(async move {
            let mut came = Vec::new();
            while let Ok(datagram) = connection.read_datagram().await {
                let number = datagram.last_chunk::<4>().unwrap();
                came.push(u32::from_be_bytes(*number));
            }
            came
        })
    };
    let (mut ticket, mut readers) = (welcome.ticket, vec![read(&old)]);
    for round in 1..=6 {
        let relay = &relays[round % 2];
        let hello = receiver.hello(Intent::Handover, Bytes::new(), ticket);
        let (mut new, welcome) = greet(relay, &receiver, hello, CAPABILITY_POLICIES).await;
        readers.push(read(&new));
        set(&mut new, policy(PolicyMode::Any)).await;
        let stamp = activate(&mut new).await;
        old.say(Frame::Moved { stamp, relay: relay.id() }).await;
        while old.next().await != Frame::MovedOk {}
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        old.connection.close(0_u32.into(), b"");
        (old, ticket) = (new, welcome.ticket);
    }
    stop_sending.send(()).unwrap();
    let sent = sending.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    old.connection.close(0_u32.into(), b"");
    let mut came = Vec::new();
    for reader in readers {
        came.extend(reader.await.unwrap());
    }
    came.sort_unstable();
    came.dedup();
    assert_eq!(came, (1..=sent).collect::<Vec<_>>());
    stop(relays).await;
}
