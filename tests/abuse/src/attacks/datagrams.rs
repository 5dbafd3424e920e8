//! Datagrams: from a hundred to one, to nobody, and to those who take none.

use anyhow::{Context as _, anyhow};
use baton_protocol::datagram::{self, FIRST_ALIAS};
use baton_protocol::hello::peer_of;
use baton_protocol::id::PeerId;
use bytes::Bytes;
use quinn::{Connection, TransportConfig};
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::deaf::DeafSocket;
use crate::field::{Field, transport};
use crate::peer::{Peer, Turned};

/// Senders to one receiver.
const SENDERS: usize = 100;

/// Sessions that send to nobody.
const TO_NOBODY: usize = 8;

/// Those who acknowledge nothing, and those who send to them. A session has 256 routes at most.
const DEAF: usize = 240;
const BROODS: usize = 4;

/// Bytes of a datagram that is not small.
const PAYLOAD: usize = 1000;

/// What quinn holds for a sender: it is to be behind.
const SEND_BUFFER: usize = 256 * 1024;

/// So many datagrams are given to quinn until others have their turn.
const AT_ONCE: usize = 32;

pub(super) async fn senders(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let key = field.key();
    let receiver = attach(field, &key).await?;
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (connection, counted) = (receiver.connection.clone(), counts.clone());
    tasks.spawn(async move {
        loop {
            let came =
                connection.read_datagram().await.map_err(Turned::from).map_err(unexpected)?;
            counted.one("received");
            // Each says which sender it is of.
            if let Some(number) = came.last() {
                counted.one(&format!("received of {number}"));
            }
        }
    });
    tasks.spawn(async move { Err(unexpected(receiver.listen().await)) });
    for number in 0..SENDERS {
        let mut payload = vec![0; PAYLOAD];
        payload[PAYLOAD - 1] = number as u8;
        let to = vec![peer_of(&key)];
        tasks.spawn(send(field.clone(), counts.clone(), to, payload));
    }
    ended(&mut tasks).await
}

pub(super) async fn offline(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..TO_NOBODY {
        let nobody = vec![PeerId::from_bytes(field.random())];
        // Small ones: as many as there may be in a packet.
        tasks.spawn(send(field.clone(), counts.clone(), nobody, b"hello".to_vec()));
    }
    ended(&mut tasks).await
}

pub(super) async fn slow(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let (mut tasks, mut broods) = (JoinSet::new(), Vec::new());
    for _ in 0..BROODS {
        let socket = DeafSocket::bind()?;
        let endpoint = field.endpoint_on(socket.clone())?;
        let mut receivers = Vec::new();
        for _ in 0..DEAF {
            let key = field.key();
            let attached = Peer::connect_with(field, &endpoint, field.config_with(patient())).await;
            let mut peer = attached.map_err(unexpected)?;
            peer.greet(field, &key, field.token("good")?).await.map_err(unexpected)?;
            receivers.push(peer_of(&key));
            counts.one("deaf");
            // It is kept, and says that it lives, but hears nothing.
            tasks.spawn(async move { Err(unexpected(peer.listen().await)) });
        }
        broods.push((socket, receivers));
    }
    for (socket, receivers) in broods {
        socket.deafen();
        tasks.spawn(send(field.clone(), counts.clone(), receivers, Vec::new()));
    }
    ended(&mut tasks).await
}

/// The transport of one that does not mind hearing nothing.
fn patient() -> TransportConfig {
    let mut transport = transport();
    transport.max_idle_timeout(None);
    transport
}

async fn attach(field: &Field, key: &ed25519_dalek::SigningKey) -> anyhow::Result<Peer> {
    let (endpoint, token) = (field.endpoint()?, field.token("good")?);
    let mut transport = transport();
    transport.datagram_send_buffer_size(SEND_BUFFER);
    let config = field.config_with(transport);
    let mut peer = Peer::connect_with(field, &endpoint, config).await.map_err(unexpected)?;
    peer.greet(field, key, token).await.map_err(unexpected)?;
    Ok(peer)
}

/// Sends this payload to these peers, as fast as it can.
async fn send(
    field: Field,
    counts: Counts,
    to: Vec<PeerId>,
    payload: Vec<u8>,
) -> anyhow::Result<()> {
    let mut peer = attach(&field, &field.key()).await?;
    let mut datagrams = Vec::new();
    for (alias, to) in (FIRST_ALIAS..).zip(to) {
        peer.open(alias, to).await.map_err(unexpected)?;
        datagrams.push(datagram::aliased(alias, &payload));
    }
    counts.one("senders");
    let connection = peer.connection.clone();
    tokio::select! {
        turned = flood(&connection, &datagrams, &counts) => Err(unexpected(turned)),
        turned = peer.listen() => Err(unexpected(turned)),
    }
}

/// As fast as quinn takes them.
async fn flood(connection: &Connection, datagrams: &[Bytes], counts: &Counts) -> Turned {
    let mut sent = 0;
    for datagram in datagrams.iter().cycle() {
        if connection.send_datagram_wait(datagram.clone()).await.is_err() {
            break;
        }
        sent += 1;
        if sent % AT_ONCE == 0 {
            counts.add("sent", AT_ONCE as u64);
            tokio::task::yield_now().await;
        }
    }
    connection.closed().await.into()
}

/// None of them should end.
async fn ended(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    tasks.join_next().await.context("there is nothing to do")??
}

fn unexpected(turned: Turned) -> anyhow::Error {
    anyhow!("a session that does nothing forbidden: {}", turned.name())
}
