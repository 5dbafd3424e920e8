//! Datagrams that do not fit the path go by streams ([`baton_protocol::detour`]): how they are sent, and how they are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_protocol::datagram::Datagram;
use baton_protocol::detour::{LONGEST, PATIENCE, TAKEN_BY_RELAY};
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::io::Senders;

/// After the control stream.
const PRIORITY: i32 = -1;

/// No more use for it: it is too late, or too long.
const CODE: u32 = 0;

/// Sends datagrams of one session by streams.
#[derive(Debug)]
pub(super) struct Detours {
    /// The relay said that it takes them.
    may_use: Arc<AtomicBool>,
    under_way: JoinSet<()>,
    is_wide: bool,
}

/// There was no stream to be had for it.
#[derive(Debug)]
pub(super) struct NoStream;

impl Detours {
    pub(super) fn new(may_use: Arc<AtomicBool>) -> Self {
        Self { may_use, under_way: JoinSet::new(), is_wide: false }
    }

    /// Whether a datagram of this length fits the path. Of a wide one that is not asked, until [`Detours::narrowed`].
    pub(super) fn fits(&mut self, connection: &Connection, length: usize) -> bool {
        if self.is_wide {
            return true;
        }
        let room = connection.max_datagram_size().unwrap_or(0);
        self.is_wide = room >= LONGEST;
        length <= room
    }

    /// A datagram did not fit, where others did before.
    pub(super) fn narrowed(&mut self) {
        self.is_wide = false;
    }

    /// Sends a datagram by a stream. Waits for one, but not for its arrival: [`PATIENCE`] bounds either.
    pub(super) async fn send(
        &mut self,
        connection: &Connection,
        datagram: Bytes,
    ) -> Result<(), NoStream> {
        if datagram.len() > LONGEST || !self.may_use.load(Ordering::Relaxed) {
            return Err(NoStream);
        }
        while self.under_way.try_join_next().is_some() {}
        while self.under_way.len() >= TAKEN_BY_RELAY as usize {
            let _ = self.under_way.join_next().await;
        }
        let opened = timeout(PATIENCE, connection.open_uni()).await;
        let stream = opened.map_err(|_| NoStream)?.map_err(|_| NoStream)?;
        self.under_way.spawn(carry(stream, datagram));
        Ok(())
    }
}

async fn carry(mut stream: SendStream, datagram: Bytes) {
    let _ = stream.set_priority(PRIORITY);
    let arrival = async {
        if stream.write_all(&datagram).await.is_ok() && stream.finish().is_ok() {
            let _ = stream.stopped().await;
        }
    };
    if timeout(PATIENCE, arrival).await.is_err() {
        let _ = stream.reset(CODE.into());
    }
}

/// Takes what comes by streams, until the connection ends. There are as many at a time as the transport allows.
pub(super) async fn take(connection: Connection, senders: Arc<Senders>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Some(read) = streams.join_next() => {
                if let Ok(Some(datagram)) = read {
                    deliver(&senders, &datagram);
                }
            }
            Ok(stream) = connection.accept_uni() => {
                streams.spawn(read(stream));
            }
            else => return,
        }
    }
}

/// Only payload comes like this: whoever asks about a path must use it.
fn deliver(senders: &Senders, datagram: &Bytes) {
    match Datagram::decode(datagram) {
        Ok(Datagram::Aliased { alias, payload }) => senders.aliased(alias, payload),
        Ok(Datagram::Long { sender, payload }) => senders.long(sender, payload),
        Ok(_) | Err(_) => tracing::debug!("a stream held no payload, and was dropped"),
    }
}

/// What the stream holds, if that is so much as a datagram may have, and comes in time. Otherwise the stream is stopped.
async fn read(mut stream: RecvStream) -> Option<Bytes> {
    match timeout(PATIENCE, stream.read_to_end(LONGEST)).await {
        Ok(Ok(datagram)) => Some(datagram.into()),
        Ok(Err(_)) | Err(_) => {
            let _ = stream.stop(CODE.into());
            None
        }
    }
}
