//! Watches: too many, of peers that come and go; by sessions that read nothing; of peers that are none of their business.

use std::time::Duration;

use anyhow::Context as _;
use baton_protocol::datagram;
use baton_protocol::frame::{Frame, NoticeCode, PeerState};
use baton_protocol::hello::peer_of;
use baton_protocol::id::PeerId;
use ed25519_dalek::SigningKey;
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::field::{Field, transport};
use crate::peer::{Peer, Turned};

/// Sessions that watch, and how many each asks for.
const WATCHERS: usize = 10;
const WATCHES: usize = 1_000;

/// One session asks for so many.
const GREEDY: usize = 10_000;

/// Of the peers that all of them watch, so many come and go.
const FICKLE: usize = 20;

/// Sessions that read nothing.
const DEAF: usize = 1_000;

/// How many frames of those are written in one go.
const AT_ONCE: usize = 64;

/// Sessions of another group.
const STRANGERS: usize = 10;

/// Between one question and the next.
const ASK: Duration = Duration::from_millis(5);

/// Before one that was turned away tries again.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn watches(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let fickle: Vec<_> = (0..FICKLE).map(|_| field.key()).collect();
    let mut watched: Vec<_> = fickle.iter().map(peer_of).collect();
    watched.extend((FICKLE..WATCHES).map(|_| PeerId::from_bytes(field.random())));
    let mut tasks = JoinSet::new();
    for _ in 0..WATCHERS {
        tasks.spawn(watch(field.clone(), counts.clone(), watched.clone(), "watches"));
    }
    let nobody = (0..GREEDY).map(|_| PeerId::from_bytes(field.random())).collect();
    tasks.spawn(watch(field.clone(), counts.clone(), nobody, "greedy"));
    for key in fickle {
        tasks.spawn(come_and_go(field.clone(), counts.clone(), key));
    }
    ended(&mut tasks).await
}

/// Watches all of these, and counts what it is told.
async fn watch(
    field: Field,
    counts: Counts,
    peers: Vec<PeerId>,
    name: &'static str,
) -> anyhow::Result<()> {
    let token = field.token("good")?;
    let endpoint = field.endpoint()?;
    let attached = Peer::attach(&field, &endpoint, &field.key(), token).await;
    let mut peer = attached.map_err(unexpected)?;
    for (number, watched) in peers.iter().enumerate() {
        peer.say(&Frame::Watch { peer: *watched }).await.map_err(unexpected)?;
        // As long as it reads the answers it may ask for as much as it likes: here it asks for 64 at a time.
        if number % AT_ONCE == AT_ONCE - 1 || number + 1 == peers.len() {
            let asked = number % AT_ONCE + 1;
            let mut answers = 0;
            while answers < asked {
                answers += usize::from(hear(&mut peer, &counts, name).await?);
            }
            counts.add(name, asked as u64);
        }
    }
    loop {
        hear(&mut peer, &counts, name).await?;
    }
}

/// One frame. Whether it says how a peer is.
async fn hear(peer: &mut Peer, counts: &Counts, name: &str) -> anyhow::Result<bool> {
    match peer.read().await.map_err(unexpected)? {
        Frame::Presence { .. } => {
            counts.one(&format!("{name}: told"));
            return Ok(true);
        }
        Frame::Limited(limited) => counts.one(&format!("{name}: limited {}", limited.kind.name())),
        Frame::Resync => counts.one(&format!("{name}: resync")),
        _ => {}
    }
    Ok(false)
}

/// Attaches and leaves, as often as it may.
async fn come_and_go(field: Field, counts: Counts, key: SigningKey) -> anyhow::Result<()> {
    let (token, endpoint) = (field.token("good")?, field.endpoint()?);
    loop {
        match Peer::attach(&field, &endpoint, &key, token.clone()).await {
            Ok(peer) => {
                counts.one("came");
                peer.connection.close(0_u32.into(), b"done");
            }
            Err(turned) => {
                counts.one(&turned.name());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

pub(super) async fn deaf(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for first in (0..DEAF).step_by(100) {
        let endpoint = field.endpoint()?;
        for _ in first..first + 100 {
            let (field, counts, endpoint) = (field.clone(), counts.clone(), endpoint.clone());
            let token = field.token("good")?;
            tasks.spawn(async move {
                loop {
                    let turned = ask_without_end(&field, &endpoint, &counts, token.clone()).await;
                    counts.one(&turned.name());
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    ended(&mut tasks).await
}

/// Asks how a peer is, and never hears an answer: none finds room.
async fn ask_without_end(
    field: &Field,
    endpoint: &quinn::Endpoint,
    counts: &Counts,
    token: bytes::Bytes,
) -> Turned {
    let mut transport = transport();
    // Just what WELCOME needs is taken; nothing is read.
    transport.stream_receive_window(1024_u32.into());
    let connected = Peer::connect_with(field, endpoint, field.config_with(transport)).await;
    let mut peer = match connected {
        Ok(peer) => peer,
        Err(turned) => return turned,
    };
    let hello = peer.hello(field, &field.key(), token);
    if let Err(turned) = peer.write(&hello).await {
        return turned;
    }
    counts.one("attached");
    let nobody = PeerId::from_bytes(field.random());
    let [watch, unwatch] = [Frame::Watch { peer: nobody }, Frame::Unwatch { peer: nobody }];
    let frames = [watch.encode(), unwatch.encode()].concat().repeat(AT_ONCE);
    loop {
        if let Err(turned) = peer.write(&frames).await {
            return turned;
        }
        counts.add("asked", AT_ONCE as u64);
    }
}

pub(super) async fn strangers(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..STRANGERS {
        for there in field.told().peers.clone() {
            tasks.spawn(stare(field.clone(), counts.clone(), there.0, "there"));
            let nowhere = PeerId::from_bytes(field.random());
            tasks.spawn(stare(field.clone(), counts.clone(), nowhere, "nowhere"));
        }
    }
    ended(&mut tasks).await
}

/// Watches a peer, opens a route to it and sends to it, again and again, and counts what it learns.
async fn stare(
    field: Field,
    counts: Counts,
    peer: PeerId,
    name: &'static str,
) -> anyhow::Result<()> {
    let (token, endpoint) = (field.token("stranger")?, field.endpoint()?);
    let attached = Peer::attach(&field, &endpoint, &field.key(), token).await;
    let mut stranger = attached.map_err(unexpected)?;
    for alias in (datagram::FIRST_ALIAS..).step_by(1) {
        let asked = [Frame::Unwatch { peer }, Frame::Watch { peer }, Frame::Open { alias, peer }];
        let asked: Vec<_> = asked.iter().flat_map(|frame| frame.encode()).collect();
        stranger.write(&asked).await.map_err(unexpected)?;
        // Both answers come, and an event that neither asked for would come between.
        for _ in 0..2 {
            match stranger.read().await.map_err(unexpected)? {
                Frame::Presence { state: PeerState::Offline, .. } => {
                    counts.one(&format!("{name}: offline"));
                }
                Frame::Opened { .. } => counts.one(&format!("{name}: opened")),
                Frame::Notice { code: NoticeCode::Offline, .. } => {
                    counts.one(&format!("{name}: notice offline"));
                }
                other => counts.one(&format!("learned {} of {name}", other.name())),
            }
        }
        let hello = datagram::aliased(alias, b"is anybody there?");
        let _ = stranger.connection.send_datagram(hello);
        counts.one(&format!("{name}: asked"));
        stranger.say(&Frame::Shut { alias }).await.map_err(unexpected)?;
        tokio::time::sleep(ASK).await;
    }
    Ok(())
}

/// None of them should end.
async fn ended(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    tasks.join_next().await.context("there is nothing to do")??
}

fn unexpected(turned: Turned) -> anyhow::Error {
    anyhow::anyhow!("a session that does nothing forbidden: {}", turned.name())
}
