//! With a list, a sender that is not on it knocks.

use baton_protocol::datagram::Datagram;
use baton_protocol::frame::{Frame, NoticeCode, PolicyMode, Rule, RuleVerb, Ruled};
use baton_protocol::id::PeerId;
use bytes::Bytes;

use super::{PLACES, dropped, join, know, policy, relays, rule, set, stop, told};
use crate::peer::Who;
use crate::pool;

#[tokio::test]
async fn who_is_not_on_the_list_knocks_once_and_is_heard_once_it_is_allowed() {
    for count in PLACES {
        let relays = relays(count).await;
        let [receiver, sender] = [1, 2].map(Who::new);
        let mut home = join(&relays[0], &receiver, "a").await;
        assert_eq!(set(&mut home, policy(PolicyMode::List)).await, []);
        let mut knocker = join(&relays[count - 1], &sender, "a").await;
        know(&relays, 2).await;
        knocker.open(16, receiver.id()).await;
        knocker.send_datagram(16, b"one");
        assert_eq!(home.next().await, Frame::Knock { peer: sender.id() });
        let offline = Frame::Notice { alias: 16, code: NoticeCode::Offline };
        assert_eq!(knocker.next().await, offline, "for it there is nobody");
        for number in 2..=10 {
            knocker.send_datagram(16, b"more");
            pool::until("it is dropped", || dropped(&relays[0], "policy") == number).await;
        }
        assert_eq!(told(&mut home).await, [], "it knocks once");

        assert_eq!(set(&mut home, rule(RuleVerb::Allow, sender.id())).await, []);
        knocker.send_datagram(16, b"let in");
        let payload = Bytes::from_static(b"let in");
        let first = Datagram::Long { sender: sender.id().prefix(), payload };
        assert_eq!(home.datagram().await, first, "nothing came before");
        assert!(matches!(home.next().await, Frame::Sender { peer, .. } if peer == sender.id()));

        assert_eq!(set(&mut home, rule(RuleVerb::Disallow, sender.id())).await, []);
        knocker.send_datagram(16, b"again");
        assert_eq!(home.next().await, Frame::Knock { peer: sender.id() });
        assert_eq!(set(&mut home, rule(RuleVerb::Block, sender.id())).await, []);
        let before = dropped(&relays[0], "policy");
        knocker.send_datagram(16, b"blocked");
        pool::until("it is dropped", || dropped(&relays[0], "policy") == before + 1).await;
        assert_eq!(told(&mut home).await, [], "who is blocked does not knock");
        stop(relays).await;
    }
}

#[tokio::test]
async fn however_many_knock_at_once_the_client_hears_of_few() {
    const SENDERS: u8 = 40;
    let relay = pool::one().await;
    let receiver = Who::new(1);
    let hello = receiver.hello(baton_protocol::frame::Intent::Fresh, Bytes::new(), Bytes::new());
    let capabilities = baton_protocol::frame::CAPABILITY_POLICIES;
    let (mut home, _) = super::greet(&relay, &receiver, hello, capabilities).await;
    set(&mut home, policy(PolicyMode::List)).await;
    let mut knockers = Vec::new();
    for number in 0..SENDERS {
        let (mut knocker, _) = crate::peer::Peer::attach(&relay, &Who::new(100 + number)).await;
        knocker.open(16, receiver.id()).await;
        knockers.push(knocker);
    }
    let begun = std::time::Instant::now();
    knockers.iter().for_each(|knocker| knocker.send_datagram(16, b"let me in"));
    pool::until("all are refused", || dropped(&relay, "policy") == u64::from(SENDERS)).await;
    let knocks = told(&mut home).await.len() as u64;
    let most = 16 * (1 + begun.elapsed().as_secs_f64().ceil() as u64);
    assert!((16..=most).contains(&knocks), "{knocks} of {SENDERS}, at most {most}");
    // Whoever was not heard is, when there is time for it.
    let all = async {
        let mut heard = knocks;
        while heard < u64::from(SENDERS) {
            knockers.iter().for_each(|knocker| knocker.send_datagram(16, b"let me in"));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            heard += told(&mut home).await.len() as u64;
        }
        heard
    };
    let heard = tokio::time::timeout(crate::peer::PATIENCE, all).await.expect("all are heard");
    assert_eq!(heard, u64::from(SENDERS), "each once");
    relay.stop().await;
}

#[tokio::test]
async fn many_names_are_set_by_few_frames_and_hold_for_all_of_them() {
    let relays = relays(1).await;
    let [receiver, sender] = [1, 2].map(Who::new);
    let mut home = join(&relays[0], &receiver, "a").await;
    let mut peers: Vec<_> = (0..255).map(|number| PeerId::from_bytes([number; 32])).collect();
    peers.push(sender.id());
    home.say(Frame::Rule(Rule { verb: RuleVerb::Allow, peers })).await;
    home.say(policy(PolicyMode::List)).await;
    for _ in 0..2 {
        assert_eq!(home.next().await, Frame::Ruled(Ruled::Kept));
    }
    let mut known = join(&relays[0], &sender, "a").await;
    known.open(16, receiver.id()).await;
    known.send_datagram(16, b"on the list");
    assert_eq!(home.payload().await, &b"on the list"[..]);
    stop(relays).await;
}
