//! How much a client may set, and what it must not do.

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{
    CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, Frame, Intent, PolicyMode, Rule, RuleVerb, Ruled,
};
use baton_protocol::id::PeerId;
use bytes::Bytes;

use super::{greet, join, policy, relays, rule, set, stop};
use crate::peer::{Peer, Who};
use crate::pool;

const FIRST: u64 = CAPABILITY_POLICIES | CAPABILITY_POLICY_FIRST;

fn names(from: u16, to: u16) -> Vec<PeerId> {
    let name = |number: u16| {
        let mut bytes = [77; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    (from..to).map(name).collect()
}

#[tokio::test]
async fn a_name_too_many_is_told_and_what_was_there_holds() {
    for (verb, back) in
        [(RuleVerb::Allow, RuleVerb::Disallow), (RuleVerb::Block, RuleVerb::Unblock)]
    {
        let relays = relays(1).await;
        let [receiver, sender] = [1, 2].map(Who::new);
        let mut home = join(&relays[0], &receiver, "a").await;
        for quarter in 0..4 {
            let peers = names(256 * quarter, 256 * (quarter + 1));
            home.say(Frame::Rule(Rule { verb, peers })).await;
            assert_eq!(home.next().await, Frame::Ruled(Ruled::Kept));
        }
        home.say(rule(verb, sender.id())).await;
        assert_eq!(home.next().await, Frame::Ruled(Ruled::TooMany { allowed: 1024 }));
        home.say(Frame::Rule(Rule { verb, peers: names(1000, 1024) })).await;
        assert_eq!(home.next().await, Frame::Ruled(Ruled::Kept), "they are on it already");
        // Nothing of it holds.
        let mut known = join(&relays[0], &sender, "a").await;
        known.open(16, receiver.id()).await;
        if verb == RuleVerb::Allow {
            set(&mut home, policy(PolicyMode::List)).await;
            known.send_datagram(16, b"x");
            assert_eq!(home.next().await, Frame::Knock { peer: sender.id() });
        } else {
            known.send_datagram(16, b"x");
            assert_eq!(home.payload().await, &b"x"[..]);
        }
        home.say(Frame::Rule(Rule { verb: back, peers: names(0, 1) })).await;
        let kept = loop {
            match home.next().await {
                Frame::Ruled(ruled) => break ruled,
                _ => continue,
            }
        };
        assert_eq!(kept, Ruled::Kept);
        set(&mut home, rule(verb, sender.id())).await;
        stop(relays).await;
    }
}

#[tokio::test]
async fn a_client_that_changes_its_policy_without_end_is_closed() {
    let relays = relays(1).await;
    let mut home = join(&relays[0], &Who::new(1), "a").await;
    for mode in PolicyMode::ALL {
        set(&mut home, policy(mode)).await;
    }
    let modes = (0..64).flat_map(|number| policy(PolicyMode::ALL[number % 3]).encode());
    home.write(&modes.collect::<Vec<_>>()).await;
    assert_eq!(home.closed().await, u64::from(CloseCode::LimitExceeded.code()));
    stop(relays).await;
}

#[tokio::test]
async fn a_client_that_sets_its_policy_first_says_nothing_else_that_needs_one() {
    let relay = pool::one().await;
    let who = Who::new(1);
    for intent in [Intent::Fresh, Intent::Handover] {
        let (_home, welcome) = Peer::attach(&relay, &who).await;
        let ticket = if intent == Intent::Fresh { Bytes::new() } else { welcome.ticket };
        let hello = who.hello(intent, Bytes::new(), ticket);
        let (mut waits, _) = greet(&relay, &who, hello, FIRST).await;
        waits.say(Frame::Active).await;
        assert_eq!(waits.closed().await, u64::from(CloseCode::ProtocolViolation.code()));
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_client_that_never_sets_the_policy_that_was_to_be_first_is_closed() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let hello = || who.hello(Intent::Fresh, Bytes::new(), Bytes::new());
    let (earlier, _) = greet(&relay, &who, hello(), FIRST).await;
    let (mut waits, _) = greet(&relay, &who, hello(), FIRST).await;
    let moved = u64::from(CloseCode::Moved.code());
    assert_eq!(earlier.closed().await, moved, "a peer has one standby");
    assert!(relay.metrics().contains(r#"baton_relay_sessions{state="standby"} 1"#));
    assert_eq!(relay.status().mesh.peers, 0, "nobody hears of it");
    waits.say(rule(RuleVerb::Block, PeerId::from_bytes([9; 32]))).await;
    assert_eq!(waits.next().await, Frame::Ruled(Ruled::Kept));
    assert_eq!(waits.closed().await, u64::from(CloseCode::LimitExceeded.code()));
    let failed = relay.metrics();
    let failed = failed.lines().filter(|line| line.starts_with("baton_relay_handovers_total"));
    assert!(failed.clone().count() > 0 && failed.clone().all(|line| line.ends_with(" 0")));
    relay.stop().await;
}
