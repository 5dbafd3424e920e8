//! Whom a session lets in: what its client sets, and what others see of it, at one relay and across two.

mod any;
mod block;
mod groups;
mod knock;
mod limits;
mod moves;

use baton_protocol::frame::{
    CAPABILITY_POLICIES, Frame, Hello, Intent, PolicyMode, Rule, RuleVerb, Ruled, Welcome,
};
use baton_protocol::id::PeerId;
use baton_relay::Relay;
use bytes::Bytes;
use serde_json::json;

use crate::peer::{Peer, Who};
use crate::pool;

/// Where the sender is: at the receiver's relay, and at another.
const PLACES: [usize; 2] = [1, 2];

/// So many relays of a pool with groups.
async fn relays(count: usize) -> Vec<Relay> {
    pool::linked_with(count, pool::tokens()).await
}

/// Attaches to a group, and knows policies.
async fn join(relay: &Relay, who: &Who, group: &str) -> Peer {
    let claims = json!({"aud": pool::POOL, "exp": 4_000_000_000_u64, "grp": group});
    let hello = who.hello(Intent::Fresh, pool::token(&claims), Bytes::new());
    greet(relay, who, hello, CAPABILITY_POLICIES).await.0
}

/// Attaches with this HELLO and these capabilities, all of which the relay knows.
async fn greet(relay: &Relay, who: &Who, hello: Hello, capabilities: u64) -> (Peer, Welcome) {
    let hello = Hello { capabilities, ..hello };
    let (mut peer, welcome) = Peer::attach_with(relay, who, hello).await;
    assert_eq!(peer.next().await, Frame::Capabilities { known: capabilities });
    (peer, welcome)
}

fn policy(mode: PolicyMode) -> Frame {
    Frame::Policy { mode }
}

fn rule(verb: RuleVerb, peer: PeerId) -> Frame {
    Frame::Rule(Rule { verb, peers: vec![peer] })
}

/// Sets something. Gives what the client was told before the answer.
async fn set(peer: &mut Peer, change: Frame) -> Vec<Frame> {
    peer.say(change).await;
    let mut before = Vec::new();
    loop {
        match peer.next().await {
            Frame::Ruled(ruled) => {
                assert_eq!(ruled, Ruled::Kept);
                return before;
            }
            other => before.push(other),
        }
    }
}

/// What the client is told until it has an answer to what it asks now.
async fn told(peer: &mut Peer) -> Vec<Frame> {
    let nobody = PeerId::from_bytes([250; 32]);
    peer.say(Frame::Unwatch { peer: nobody }).await;
    peer.say(Frame::Watch { peer: nobody }).await;
    let mut told = Vec::new();
    loop {
        match peer.next().await {
            Frame::Presence { peer, .. } if peer == nobody => return told,
            other => told.push(other),
        }
    }
}

/// Waits until every relay knows of so many peers.
async fn know(relays: &[Relay], peers: usize) {
    let known = || relays.iter().all(|relay| relay.status().mesh.peers == peers);
    pool::until("every relay knows every peer", known).await;
}

/// How many datagrams were dropped for this reason.
fn dropped(relay: &Relay, reason: &str) -> u64 {
    let series = format!(r#"baton_relay_dropped_total{{reason="{reason}"}} "#);
    let metrics = relay.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.expect("the series is there from the start").parse().unwrap()
}

async fn stop(relays: Vec<Relay>) {
    for relay in relays {
        relay.stop().await;
    }
}
