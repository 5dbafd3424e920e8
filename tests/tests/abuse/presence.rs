//! Watches: ten thousand of them, by those who read nothing, and of peers that are none of their business.

use baton_protocol::datagram;
use baton_protocol::frame::{Frame, Intent, NoticeCode};
use baton_protocol::id::PeerId;
use bytes::Bytes;
use serde_json::json;

use crate::attacker::sum;
use crate::drill::Drill;
use crate::ground::token;
use crate::peer::{Peer, Who};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_watches_of_peers_that_come_and_go_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("ten thousand watches").await;
    let mut attacker = drill.attack("watches");
    attacker.until("watches", 10_000).await;
    attacker.until("greedy", 10_000).await;
    let (told, came) = (attacker.count("watches: told"), attacker.count("came"));
    let window = drill.endure(&mut attacker).await;
    let told = attacker.count("watches: told") - told;
    let came = attacker.count("came") - came;
    let counts = drill.recover(attacker, &window).await;
    drill.record("peers that came, and news of them", format!("{came}, {told}"));
    assert!(came > 100 && told > came, "{came} came, {told} told");
    assert_eq!(sum(&counts, "greedy: limited watches"), 1, "it is told once: {counts:?}");
    assert_eq!(sum(&counts, "watches: limited"), 0, "{counts:?}");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_ask_and_never_listen_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("deaf watchers").await;
    let mut attacker = drill.attack("deaf");
    attacker.until("attached", 1_000).await;
    let window = drill.endure(&mut attacker).await;
    attacker.until("closed 0x13", 100).await;
    let counts = drill.recover(attacker, &window).await;
    drill.record("asked", counts["asked"]);
    drill.record("closed because they do not listen", counts["closed 0x13"]);
    drill.end().await;
}

/// What a stranger is told of a peer whom it watches, to whom it opens a route, and to whom it sends: whole, in order.
async fn learned(stranger: &mut Peer, alias: u64, peer: PeerId) -> Vec<Frame> {
    let mut told = Vec::new();
    stranger.say(Frame::Watch { peer }).await;
    told.push(stranger.next().await);
    stranger.say(Frame::Open { alias, peer }).await;
    told.push(stranger.next().await);
    stranger.send_datagram(alias, b"is anybody there?");
    told.push(stranger.next().await);
    told
}

/// The same as if it were about nobody in particular: what is left is what a stranger could tell peers apart by.
fn of_nobody(told: Vec<Frame>) -> Vec<Vec<u8>> {
    let nobody = PeerId::from_bytes([0; 32]);
    let blur = |frame| match frame {
        Frame::Presence { state, .. } => Frame::Presence { sequence: 0, peer: nobody, state },
        Frame::Opened { .. } => Frame::Opened { alias: datagram::FIRST_ALIAS },
        Frame::Notice { code, .. } => Frame::Notice { alias: datagram::FIRST_ALIAS, code },
        other => other,
    };
    told.into_iter().map(blur).map(|frame| frame.encode().to_vec()).collect()
}

async fn stranger(drill: &Drill, number: u8) -> Peer {
    attach(drill, &Who::new(number), "strangers").await
}

async fn attach(drill: &Drill, who: &Who, group: &str) -> Peer {
    let mut peer = Peer::connect(drill.ground.address()).await.unwrap();
    peer.hello(who, who.hello(Intent::Fresh, token(group).into(), Bytes::new())).await;
    assert!(matches!(peer.next().await, Frame::Welcome(_)));
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_learns_nothing_of_peers_of_another_group() {
    let mut drill = Drill::begin("strangers").await;
    let peers = drill.neighbour.peers();
    let there: PeerId = peers[0].parse().unwrap();
    let more = json!({"peers": peers, "tokens": {"stranger": token("strangers")}});
    let mut attacker = drill.attack_with("strangers", &more);
    attacker.until("there: asked", 100).await;
    let window = drill.endure(&mut attacker).await;

    // One session for each question: a NOTICE comes once per second and session.
    let mut of_those = [stranger(&drill, 51).await, stranger(&drill, 52).await];
    let told_there = learned(&mut of_those[0], 16, there).await;
    let told_nowhere = learned(&mut of_those[1], 16, PeerId::from_bytes([77; 32])).await;
    let notice = Frame::Notice { alias: 16, code: NoticeCode::Offline };
    assert_eq!(told_there[2], notice);
    assert_eq!(of_nobody(told_there), of_nobody(told_nowhere));

    // Nor of one who comes, comes anew, and goes: the next that is heard is the answer to the next question.
    let fickle = Who::new(53);
    let mut watcher = stranger(&drill, 54).await;
    learned(&mut watcher, 16, fickle.id()).await;
    let mut friend = attach(&drill, &Who::new(55), "neighbours").await;
    friend.say(Frame::Watch { peer: fickle.id() }).await;
    let mut seen = vec![friend.next().await];
    for _ in 0..2 {
        let peer = attach(&drill, &fickle, "neighbours").await;
        seen.push(friend.next().await);
        peer.connection.close(0_u32.into(), b"done");
        seen.push(friend.next().await);
    }
    assert_eq!(seen.len(), 5, "a friend is told of all of it");
    watcher.open(17, fickle.id()).await;

    for peer in of_those.iter().chain([&watcher, &friend]) {
        peer.connection.close(0_u32.into(), b"done");
    }
    let counts = drill.recover(attacker, &window).await;
    let of = |name: &str| {
        let answers = ["asked", "offline", "opened"];
        answers.map(|answer| sum(&counts, &format!("{name}: {answer}")))
    };
    drill.record("of peers who are there: asked, offline, opened", format!("{:?}", of("there")));
    drill.record("of peers who are nowhere", format!("{:?}", of("nowhere")));
    assert_eq!(sum(&counts, "learned"), 0, "{counts:?}");
    drill.end().await;
}
