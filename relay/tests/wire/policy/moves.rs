//! A policy that is set anew on the next session, while those whom it keeps out send without a pause: no window is open.

use std::time::Duration;

use baton_protocol::datagram;
use baton_protocol::frame::{
    CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, Frame, Hello, Intent, PolicyMode, RuleVerb,
    Welcome,
};
use baton_relay::Relay;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;

use super::{greet, know, policy, rule, set, stop};
use crate::handover::activate;
use crate::peer::{PATIENCE, Peer, Who};
use crate::pool;

const ROUNDS: usize = 60;

const FIRST: u64 = CAPABILITY_POLICIES | CAPABILITY_POLICY_FIRST;

/// Sends its number without a pause.
fn flood(sender: &Peer, number: u8) -> JoinHandle<()> {
    let connection = sender.connection.clone();
    let datagram = datagram::aliased(16, &[number]);
    tokio::spawn(async move {
        while connection.send_datagram_wait(datagram.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    })
}

/// Two relays; at each, one whom the receiver lets in and one whom it blocks, who both send all the time.
struct Scene {
    relays: Vec<Relay>,
    receiver: Who,
    blocked: [Who; 2],
    _senders: Vec<(Peer, JoinHandle<()>)>,
    random: StdRng,
}

const LET_IN: u8 = 1;
const BLOCKED: u8 = 2;

impl Scene {
    async fn start() -> Self {
        let relays = pool::linked(2).await;
        let receiver = Who::new(1);
        let mut senders = Vec::new();
        for (number, relay) in (0..).zip(&relays) {
            for (base, says) in [(10, LET_IN), (20, BLOCKED)] {
                let (mut sender, _) = Peer::attach(relay, &Who::new(base + number)).await;
                sender.open(16, receiver.id()).await;
                let flood = flood(&sender, says);
                senders.push((sender, flood));
            }
        }
        know(&relays, 4).await;
        let blocked = [Who::new(20), Who::new(21)];
        let random = StdRng::seed_from_u64(7);
        Self { relays, receiver, blocked, _senders: senders, random }
    }

    fn hello(&self, intent: Intent, ticket: Bytes) -> Hello {
        self.receiver.hello(intent, Bytes::new(), ticket)
    }

    /// Attaches, and sets the policy a moment after WELCOME.
    async fn attach(&mut self, round: usize, hello: Hello, capabilities: u64) -> (Peer, Welcome) {
        let relay = &self.relays[round % 2];
        let (mut peer, welcome) = greet(relay, &self.receiver, hello, capabilities).await;
        tokio::time::sleep(Duration::from_micros(self.random.random_range(0..2000))).await;
        self.block(&mut peer).await;
        (peer, welcome)
    }

    async fn block(&self, peer: &mut Peer) {
        for who in &self.blocked {
            set(peer, rule(RuleVerb::Block, who.id())).await;
        }
        set(peer, policy(PolicyMode::Group)).await;
    }

    async fn stop(self) {
        drop(self._senders);
        stop(self.relays).await;
    }
}

/// How many datagrams of blocked peers come, until some of others have.
async fn heard(peer: &Peer) -> usize {
    let (mut blocked, mut let_in) = (0, 0);
    while let_in < 20 {
        let datagram = tokio::time::timeout(PATIENCE, peer.connection.read_datagram()).await;
        match datagram.expect("a datagram").expect("a connection").last() {
            Some(&BLOCKED) => blocked += 1,
            _ => let_in += 1,
        }
    }
    blocked
}

#[tokio::test]
async fn a_resume_keeps_the_policy_without_a_window() {
    let mut scene = Scene::start().await;
    let mut ticket = Bytes::new();
    for round in 0..ROUNDS {
        let intent = if ticket.is_empty() { Intent::Fresh } else { Intent::Resume };
        let hello = scene.hello(intent, ticket.clone());
        let (peer, welcome) = scene.attach(round, hello, FIRST).await;
        assert_eq!(heard(&peer).await, 0, "round {round}");
        // Lost, or still there when its client comes back.
        match round % 3 {
            0 => peer.connection.close(0_u32.into(), b""),
            _ => drop(tokio::spawn(async move { peer.connection.closed().await })),
        }
        ticket = welcome.ticket;
    }
    scene.stop().await;
}

#[tokio::test]
async fn negative_control_a_resume_that_sets_its_policy_when_it_is_home_has_a_window() {
    let mut scene = Scene::start().await;
    let (mut ticket, mut blocked) = (Bytes::new(), 0);
    for round in 0..ROUNDS {
        let intent = if ticket.is_empty() { Intent::Fresh } else { Intent::Resume };
        let hello = scene.hello(intent, ticket.clone());
        let (peer, welcome) = scene.attach(round, hello, CAPABILITY_POLICIES).await;
        blocked += heard(&peer).await;
        ticket = welcome.ticket;
    }
    assert!(blocked > 0, "the race was none");
    scene.stop().await;
}

/// Hands the receiver over from relay to relay. Gives how much of those whom it blocks came.
async fn handovers(scene: &mut Scene, capabilities: u64, active_first: bool) -> usize {
    let hello = scene.hello(Intent::Fresh, Bytes::new());
    let (mut old, welcome) = scene.attach(0, hello, FIRST).await;
    let (mut ticket, mut blocked) = (welcome.ticket, heard(&old).await);
    for round in 1..ROUNDS {
        let hello = scene.hello(Intent::Handover, ticket);
        let relay = &scene.relays[round % 2];
        let (mut new, welcome) = greet(relay, &scene.receiver, hello, capabilities).await;
        let to = relay.id();
        let stamp = if active_first {
            let stamp = activate(&mut new).await;
            scene.block(&mut new).await;
            stamp
        } else {
            scene.block(&mut new).await;
            activate(&mut new).await
        };
        old.say(Frame::Moved { stamp, relay: to }).await;
        while old.next().await != Frame::MovedOk {}
        blocked += heard(&new).await;
        old.connection.close(0_u32.into(), b"");
        (old, ticket) = (new, welcome.ticket);
    }
    blocked
}

#[tokio::test]
async fn a_handover_keeps_the_policy_without_a_window() {
    for capabilities in [CAPABILITY_POLICIES, FIRST] {
        let mut scene = Scene::start().await;
        assert_eq!(handovers(&mut scene, capabilities, false).await, 0);
        scene.stop().await;
    }
}

#[tokio::test]
async fn negative_control_a_handover_that_sets_its_policy_after_active_has_a_window() {
    let mut scene = Scene::start().await;
    assert!(handovers(&mut scene, CAPABILITY_POLICIES, true).await > 0, "the race was none");
    scene.stop().await;
}
