//! Datagrams that do not fit their path go by streams ([`baton_protocol::detour`]): how they are sent, and how they are taken.

use baton_protocol::detour::{LONGEST, PATIENCE, TAKEN_BY_CLIENT, TAKEN_BY_RELAY};
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// After the control stream, and after all that has a priority of its own.
const PRIORITY: i32 = -1;

/// No more use for it: it is too late, too long, or no datagram.
const CODE: u32 = 0;

/// The streams by which one session is sent what does not fit its path.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    under_way: JoinSet<()>,
}

/// There was no stream to be had for it in time.
#[derive(Debug)]
pub(crate) struct NoStream;

impl Detours {
    /// Sends a datagram by a stream. Waits for one, but not for its arrival: [`PATIENCE`] bounds either.
    pub(crate) async fn send(
        &mut self,
        connection: &Connection,
        datagram: Bytes,
    ) -> Result<(), NoStream> {
        if datagram.len() > LONGEST {
            return Err(NoStream);
        }
        while self.under_way.try_join_next().is_some() {}
        // The client may allow more than it should: then each of them waits for one before it.
        while self.under_way.len() >= TAKEN_BY_CLIENT as usize {
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

/// From now on a client may send what does not fit its path by streams.
pub(crate) fn allow(connection: &Connection) {
    connection.set_max_concurrent_uni_streams(TAKEN_BY_RELAY.into());
}

/// What the stream holds, if that is so much as a datagram may have, and comes in time. Otherwise the stream is stopped.
pub(crate) async fn read(mut stream: RecvStream) -> Option<Bytes> {
    match timeout(PATIENCE, stream.read_to_end(LONGEST)).await {
        Ok(Ok(datagram)) => Some(datagram.into()),
        Ok(Err(_)) | Err(_) => {
            let _ = stream.stop(CODE.into());
            None
        }
    }
}
