//! Connections that never come to the point.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::field::Field;
use crate::peer::{Peer, Turned};

/// So many connections at a time: a few more than a relay keeps of them.
const AT_ONCE: usize = 1200;

/// Connections of one socket.
const PER_SOCKET: usize = 100;

/// Between one byte of HELLO and the next: it never comes to its end.
const BYTE: Duration = Duration::from_millis(100);

/// Before one that was turned away tries again.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn silent(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    for first in (0..AT_ONCE).step_by(PER_SOCKET) {
        let endpoint = field.endpoint()?;
        for number in first..first + PER_SOCKET {
            let (field, counts, endpoint) = (field.clone(), counts.clone(), endpoint.clone());
            let token = field.token("good")?;
            connections.spawn(async move {
                loop {
                    let connected = Peer::connect(&field, &endpoint).await;
                    let Ok(mut peer) = connected.inspect_err(|turned| counts.one(&turned.name()))
                    else {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    counts.one("connected");
                    let hello = peer.hello(&field, &field.key(), token.clone());
                    let (turned, name) = if number % 2 == 0 {
                        (peer.closed().await, "silent")
                    } else {
                        (byte_by_byte(&mut peer, &hello).await, "byte by byte")
                    };
                    counts.one(&format!("{name}: {}", turned.name()));
                }
            });
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn byte_by_byte(peer: &mut Peer, hello: &[u8]) -> Turned {
    for byte in hello {
        if let Err(turned) = peer.write(&[*byte]).await {
            return turned;
        }
        tokio::time::sleep(BYTE).await;
    }
    peer.closed().await
}
