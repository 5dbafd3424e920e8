//! Flows: datagrams between two peers, inside their connection.
//!
//! A flow is a bidirectional stream that says which service it is for, and stays open as long as the flow lives. Its datagrams
//! bear the number of that stream. One that does not fit a packet goes by a unidirectional stream of its own, whole.
//!
//! ```text
//! QUIC DATAGRAM, or all of a unidirectional stream:   kind (1 byte)   number (varint)   payload
//! kind 0: a nudge, which nobody reads
//! kind 1: of a flow
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_protocol::id::PeerId;
use baton_protocol::varint;
use bytes::{BufMut as _, Bytes, BytesMut};
use quinn::{Connection, ConnectionError, SendDatagramError, StreamId, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::stream::{ABANDONED, Gone, IncomingStream, RecvStream, Rejection, SendStream};
use crate::service::ServiceName;
use crate::session::queue::lock;

/// The kind of a datagram that is sent for its acknowledgement.
pub(super) const NUDGE: u8 = 0;

const OF_FLOW: u8 = 1;

/// Kind and the longest number.
const HEADER: usize = 1 + 8;

/// The longest datagram, as in UDP.
pub(crate) const LONGEST: usize = 65_535;

/// Datagrams of one flow that its owner has not taken yet.
const WAITING: usize = 256;

/// Bytes of datagrams, of all flows, that their owners have not taken yet.
const WAITING_BYTES: usize = 4 << 20;

/// Datagrams of one flow that are on their way by streams of their own.
const LARGE: usize = 16;

/// A datagram that is later than this is worth nothing.
const LATE: Duration = Duration::from_secs(2);

/// A datagram that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// It is too long.
    #[error("a datagram of {0} bytes, where at most {LONGEST} are carried")]
    TooLong(usize),
    /// The connection to the peer was lost.
    #[error("the connection to the peer was lost: {0}")]
    Lost(#[source] ConnectionError),
}

/// Which flow: the connection, and the number of the stream.
type Key = (usize, u64);

#[derive(Debug)]
struct Waiting {
    payload: Bytes,
    /// Given back when the owner takes it, or is gone.
    _bytes: OwnedSemaphorePermit,
}

/// The flows of all connections.
#[derive(Debug)]
pub(super) struct Flows {
    table: Mutex<HashMap<Key, mpsc::Sender<Waiting>>>,
    bytes: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

impl Flows {
    /// Counts in `dropped` what nobody takes.
    pub(super) fn new(dropped: Arc<AtomicU64>) -> Self {
        Self { table: Mutex::default(), bytes: Arc::new(Semaphore::new(WAITING_BYTES)), dropped }
    }

    /// A place for the datagrams of a flow.
    pub(super) fn register(self: &Arc<Self>, connection: &Connection, stream: StreamId) -> Place {
        let key = (connection.stable_id(), VarInt::from(stream).into_inner());
        let (sender, inbound) = mpsc::channel(WAITING);
        lock(&self.table).insert(key, sender);
        Place { flows: self.clone(), key, inbound }
    }

    /// Takes a datagram that came on a connection. Never waits: what finds no room is lost.
    pub(super) fn deliver(&self, connection: &Connection, datagram: &Bytes) {
        let Some((number, payload)) = decode(datagram) else { return };
        let key = (connection.stable_id(), number);
        // A flow that has just ended, or is not accepted yet: as if it had come too early.
        let Some(sender) = lock(&self.table).get(&key).cloned() else { return };
        // An empty datagram is one, and takes room too.
        let bytes = u32::try_from(payload.len().max(1)).unwrap_or(u32::MAX);
        let permit = self.bytes.clone().try_acquire_many_owned(bytes).ok();
        let taken = permit.is_some_and(|permit| {
            // A copy: the payload is a slice of all that was received with it.
            let payload = Bytes::copy_from_slice(payload);
            sender.try_send(Waiting { payload, _bytes: permit }).is_ok()
        });
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn encode(number: u64, payload: &[u8]) -> Bytes {
    let mut datagram = BytesMut::with_capacity(HEADER + payload.len());
    datagram.put_u8(OF_FLOW);
    varint::write(number, &mut datagram);
    datagram.put_slice(payload);
    datagram.freeze()
}

fn decode(datagram: &[u8]) -> Option<(u64, &[u8])> {
    let rest = datagram.strip_prefix(&[OF_FLOW])?;
    let (number, length) = varint::read(rest)?;
    Some((number, &rest[length..]))
}

/// Reads a datagram that comes by a stream of its own.
pub(super) async fn read_large(mut receive: RecvStream) -> Option<Bytes> {
    let read = tokio::time::timeout(LATE, receive.read_to_end(HEADER + LONGEST)).await;
    if let Ok(Ok(datagram)) = read {
        return Some(datagram.into());
    }
    // It fails only if the stream has ended.
    let _ = receive.stop(ABANDONED);
    None
}

/// Where the datagrams of one flow arrive.
#[derive(Debug)]
pub(super) struct Place {
    flows: Arc<Flows>,
    key: Key,
    inbound: mpsc::Receiver<Waiting>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.flows.table).remove(&self.key);
    }
}

/// A flow of datagrams between this peer and another. Dropping it ends it.
#[derive(Debug)]
pub struct Flow {
    peer: PeerId,
    connection: Connection,
    place: Place,
    /// Kept for its end, which is the flow's.
    _send: SendStream,
    receive: RecvStream,
    /// Datagrams that go by streams.
    large: JoinSet<()>,
}

impl Flow {
    pub(super) fn new(
        peer: PeerId,
        connection: Connection,
        place: Place,
        (send, receive): (SendStream, RecvStream),
    ) -> Self {
        Self { peer, connection, place, _send: send, receive, large: JoinSet::new() }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Sends a datagram. It may be lost, as any; if too many wait, some are dropped.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), FlowError> {
        if payload.len() > LONGEST {
            return Err(FlowError::TooLong(payload.len()));
        }
        let datagram = encode(self.place.key.1, payload);
        if self.connection.max_datagram_size().is_some_and(|size| datagram.len() <= size) {
            return match self.connection.send_datagram(datagram) {
                Err(SendDatagramError::ConnectionLost(error)) => Err(FlowError::Lost(error)),
                // The others say that there are no datagrams or that it is too large, which was asked just now.
                _ => Ok(()),
            };
        }
        while self.large.try_join_next().is_some() {}
        if self.large.len() < LARGE {
            self.large.spawn(send_large(self.connection.clone(), datagram));
        } else {
            self.place.flows.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The next datagram from the other end. None when it has ended the flow, or the connection was lost.
    pub async fn receive(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            // The table keeps the sender as long as the place is there.
            waiting = self.place.inbound.recv() => waiting.map(|waiting| waiting.payload),
            () = ended(&mut self.receive) => None,
        }
    }
}

/// Waits for the end of a flow's stream. Bytes on it mean nothing yet.
async fn ended(receive: &mut RecvStream) {
    while let Ok(Some(_)) = receive.read_chunk(usize::MAX, true).await {}
}

async fn send_large(connection: Connection, datagram: Bytes) {
    let Ok(Ok(mut send)) = tokio::time::timeout(LATE, connection.open_uni()).await else { return };
    let sent = tokio::time::timeout(LATE, send.write_all(&datagram)).await;
    // quinn ends a stream that is dropped, and what has come would look whole.
    let _ = if matches!(sent, Ok(Ok(()))) { send.finish() } else { send.reset(ABANDONED) };
}

/// A flow that another peer wants to open. Dropping it says that nobody is there.
#[derive(Debug)]
pub struct IncomingFlow {
    /// It is asked for, and refused, as a stream is.
    pub(super) asked: IncomingStream,
    pub(super) connection: Connection,
    pub(super) flows: Arc<Flows>,
}

impl IncomingFlow {
    /// Who wants it. The peer has proved it.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.asked.peer()
    }

    /// To which service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        self.asked.service()
    }

    /// Takes it.
    pub async fn accept(mut self) -> Result<Flow, Gone> {
        let (mut send, receive) = self.asked.streams.take().ok_or(Gone)?;
        // Before the answer, because datagrams may come right after it.
        let place = self.flows.register(&self.connection, send.id());
        send.write_all(&[0]).await.map_err(|_| Gone)?;
        Ok(Flow::new(self.peer(), self.connection, place, (send, receive)))
    }

    /// Says no.
    pub async fn reject(self, why: Rejection) {
        self.asked.reject(why).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_its_kind_its_number_and_its_payload() {
        assert_eq!(&encode(4, b"hi")[..], b"\x01\x04hi");
        assert_eq!(&encode(300, b"")[..], b"\x01\x41\x2c");
        for (number, payload) in [(0, &b""[..]), (1 << 40, b"payload")] {
            assert_eq!(decode(&encode(number, payload)), Some((number, payload)));
        }
    }

    #[test]
    fn nudges_and_nonsense_are_of_no_flow() {
        for datagram in [&[][..], &[NUDGE], &[OF_FLOW], &[OF_FLOW, 0xc0, 1], &[7, 0, 1]] {
            assert_eq!(decode(datagram), None, "{datagram:?}");
        }
    }
}
