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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baton_protocol::attachment::{Closed, DialFailure, Slot};
use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::frame::{CAPABILITY_PATHS, CAPABILITY_STREAMS, Frame, Refused, Welcome};
use baton_protocol::path::report::PathReport;
use bytes::Bytes;
use quinn::VarInt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::dial::{Dial, DialError, Greeted};
use self::queue::SendQueue;
use crate::class;
use crate::inbound::Inbound;
use crate::paths::{News, PathLink, Pilot};
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
    /// An attempt to migrate ended: where this end is now, and where the relay sees it; or why it failed.
    PathEnded(Result<(Option<SocketAddr>, Option<SocketAddr>), FailureClass>),
    /// An attempt to migrate ended with its session, and the relay does not know of it.
    Unreported(PathReport),
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
    /// It takes reports of attempts to migrate.
    takes_reports: Arc<AtomicBool>,
    pub(crate) paths: Arc<PathLink>,
}

impl Established {
    /// The relay said what it knows of what this client knows.
    pub(crate) fn capabilities(&self, known: u64) {
        self.streams.store(known & CAPABILITY_STREAMS != 0, Ordering::Relaxed);
        if known & CAPABILITY_PATHS != 0 {
            self.takes_reports.store(true, Ordering::Relaxed);
            self.paths.tell(News::Knows);
        }
    }

    /// Whether it is known to take reports of attempts to migrate.
    pub(crate) fn takes_reports(&self) -> bool {
        self.takes_reports.load(Ordering::Relaxed)
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
    /// The last number that an attempt to migrate was given.
    pub(crate) path_numbers: Arc<AtomicU64>,
    /// How long a probe of a path may take.
    pub(crate) probe_deadline: Duration,
    /// How often QUIC sends something by itself.
    pub(crate) keep_alive: Duration,
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
        let Greeted { endpoint, socket, connection, send, .. } = greeted;
        let Greeted { receive, decoder, welcome, shown, .. } = greeted;
        let (control, writes) = mpsc::channel(CONTROL_WRITES);
        let (paths, orders) = PathLink::new();
        let paths = Arc::new(paths);
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
        let (reading, heard) = (connection.clone(), senders.clone());
        tasks.spawn(io::read_datagrams(reading, heard, paths.clone(), self.slot, inputs));
        let pilot = Pilot {
            slot: self.slot,
            connection: connection.clone(),
            endpoint: endpoint.clone(),
            socket,
            sockets: self.dial.outer.sockets().clone(),
            link: paths.clone(),
            control: control.clone(),
            inputs: self.inputs.clone(),
            numbers: self.path_numbers.clone(),
            probe_deadline: self.probe_deadline,
            keep_alive: (welcome.keep_alive, self.keep_alive),
        };
        tasks.spawn(pilot.run(orders));
        let local = endpoint.local_addr().ok();
        let established = Established {
            connection: connection.clone(),
            shown,
            control: control.clone(),
            local,
            streams,
            takes_reports: Arc::default(),
            paths: paths.clone(),
        };
        self.tell(Input::Welcome(Box::new(established), welcome)).await;
        // Its frames come after WELCOME, because this is the task that tells of both.
        let (slot, inputs) = (self.slot, self.inputs.clone());
        let frames =
            io::read_control(receive, decoder, control, senders, paths.clone(), slot, inputs);
        let mut ended = FailureClass::Cancelled;
        let code = tokio::select! {
            code = close => code.unwrap_or(CloseCode::Done),
            error = connection.closed() => {
                ended = class::class(&error);
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
        if let Some(report) = paths.unreported(ended) {
            self.tell(Input::Unreported(report)).await;
        }
        let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    }

    async fn tell(&self, input: Input) {
        // The driver outlives its sessions, unless it was aborted: then nobody is interested.
        let _ = self.inputs.send((self.slot, input)).await;
    }
}
