//! One connection to a relay: from the dial to the close.
//!
//! A session is a task that owns a socket, a QUIC connection and the tasks that read and write it. It tells the driver what
//! happens by [`Input`]s, in the order in which it happens, and ends when the driver says so or the connection does.

mod detour;
pub(crate) mod dial;
mod io;
pub(crate) mod queue;
pub(crate) mod suspicion;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_protocol::attachment::{Closed, DialFailure, Slot};
use baton_protocol::close::CloseCode;
use baton_protocol::frame::{CAPABILITY_STREAMS, Frame, Refused, Welcome};
use bytes::Bytes;
use quinn::VarInt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::dial::{Dial, DialError, Greeted};
use self::queue::SendQueue;
use crate::class;
use crate::inbound::Inbound;
use crate::renewal::Shown;

/// Control writes that wait. A relay that does not take as much is as good as gone.
const CONTROL_WRITES: usize = 64;

/// How long a closed connection may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long what was just written on the control stream gets to leave before the connection is closed over it.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Input {
    /// WELCOME came, and the readers run.
    Welcome(Box<Established>, Box<Welcome>),
    /// REFUSED came.
    Refused(Refused),
    /// The dial failed; the text is for people.
    DialFailed(DialFailure, String),
    /// A frame came that is not the session's own business.
    Frame(Frame),
    /// The relay sees this end at another address.
    Migrated,
    /// The connection ended.
    Closed(Closed),
}

/// The parts of a session that the driver uses.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub(crate) connection: quinn::Connection,
    /// The address that its socket is bound to.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) shown: Shown,
    control: mpsc::Sender<Bytes>,
    /// The relay takes streams.
    streams: Arc<AtomicBool>,
}

impl Established {
    /// The relay said what it knows of what this client knows.
    pub(crate) fn capabilities(&self, known: u64) {
        self.streams.store(known & CAPABILITY_STREAMS != 0, Ordering::Relaxed);
    }

    /// Writes frames on the control stream, together. False if the relay does not take what is written.
    pub(crate) fn write(&self, frames: &[Frame]) -> bool {
        let bytes: Vec<Bytes> = frames.iter().map(Frame::encode).collect();
        frames.is_empty() || self.control.try_send(bytes.concat().into()).is_ok()
    }
}

/// What a session task needs.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) slot: Slot,
    pub(crate) dial: Dial,
    pub(crate) queue: Arc<SendQueue>,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) inputs: mpsc::Sender<(Slot, Input)>,
}

impl Session {
    /// Dials, serves and closes. `close` is the driver's order; if its sender is dropped, the session ends too.
    pub(crate) async fn run(self, mut close: oneshot::Receiver<CloseCode>) {
        let dialed = tokio::select! {
            dialed = self.dial.dial() => dialed,
            _ = &mut close => return,
        };
        let input = match dialed {
            Ok(greeted) => return self.serve(*greeted, close).await,
            Err(error) => match (error.failure(), error) {
                (DialFailure::TurnedAway, error) => {
                    Input::DialFailed(DialFailure::TurnedAway, error.to_string())
                }
                (_, DialError::Refused(refused)) => Input::Refused(refused),
                (failure, error) => Input::DialFailed(failure, error.to_string()),
            },
        };
        self.tell(input).await;
    }

    async fn serve(self, greeted: Greeted, close: oneshot::Receiver<CloseCode>) {
        let Greeted { endpoint, connection, send, receive, decoder, welcome, shown } = greeted;
        let (control, writes) = mpsc::channel(CONTROL_WRITES);
        let gate = Arc::new(io::Gate::new(connection.clone()));
        let senders = Arc::new(io::Senders::new(self.inbound.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(io::write_control(send, writes, gate.clone()));
        let streams = Arc::<AtomicBool>::default();
        let detours = detour::Detours::new(streams.clone());
        let queue = self.queue.clone();
        tasks.spawn(io::write_datagrams(connection.clone(), queue, gate.clone(), detours));
        tasks.spawn(detour::take(connection.clone(), senders.clone()));
        let inputs = self.inputs.clone();
        tasks.spawn(io::read_datagrams(connection.clone(), senders.clone(), self.slot, inputs));
        let local = endpoint.local_addr().ok();
        let established = Established {
            connection: connection.clone(),
            shown,
            control: control.clone(),
            local,
            streams,
        };
        self.tell(Input::Welcome(Box::new(established), welcome)).await;
        // Its frames come after WELCOME, because this is the task that tells of both.
        let frames =
            io::read_control(receive, decoder, control, senders, self.slot, self.inputs.clone());
        let code = tokio::select! {
            code = close => code.unwrap_or(CloseCode::Done),
            error = connection.closed() => {
                self.tell(Input::Closed(class::closed(&error))).await;
                CloseCode::Done
            }
            broken = frames => {
                tracing::warn!(slot = ?self.slot, error = %broken, "the relay broke the protocol");
                connection.close(VarInt::from_u32(CloseCode::ProtocolViolation.code()), b"");
                let error = connection.closed().await;
                self.tell(Input::Closed(class::closed(&error))).await;
                CloseCode::ProtocolViolation
            }
        };
        gate.left(LAST_WORDS).await;
        self.queue.close();
        connection.close(VarInt::from_u32(code.code()), code.name().as_bytes());
        tasks.shutdown().await;
        let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    }

    async fn tell(&self, input: Input) {
        // The driver outlives its sessions, unless it was aborted: then nobody is interested.
        let _ = self.inputs.send((self.slot, input)).await;
    }
}
