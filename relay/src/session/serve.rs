//! A registered session, until it ends.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::datagram;
use baton_protocol::frame::{Frame, FrameError, Intent, NoticeCode};
use baton_protocol::session::{End, GoAwayOrder, Limits, Order, Session, Violation};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{debug, info};

use super::handle::{Command, Handle, Note};
use super::join::Joined;
use super::path::{Attempt, PathWatch};
use super::registration::Registration;
use super::routes::{Routes, Seen, take};
use super::{Shared, class_of};
use crate::drain::Slot;
use crate::metrics::Dropped;

/// Control frames that may wait for a client. One that reads more slowly than this is closed.
const MAX_FRAMES: usize = 512;

/// What the datagram reader may have to say at a time. More is dropped: it is repeated by itself.
const MAX_SEEN: usize = 64;

/// How often a session looks whether its client's address has changed.
const TICK: Duration = Duration::from_millis(100);

/// A client is told at most this often that a peer is not there.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// The kind of a migration that the client did not announce.
const REBIND: &str = "rebind";

/// The session's state machine with all it needs to carry out its orders.
struct Serving<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    session: Session,
    routes: Arc<Routes>,
    frames: mpsc::Sender<Frame>,
    path: PathWatch,
    admission: crate::auth::Admission,
    hello: baton_protocol::frame::Hello,
    welcomed: Instant,
    notice_at: Instant,
}

/// What ended a session from within.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it broke the protocol")]
    Violation(#[from] Violation),
    #[error("it does not speak the protocol")]
    Frame(#[from] FrameError),
    #[error("it does not read what it is told")]
    Slow,
    #[error("its access token has expired")]
    TokenExpired,
    #[error("it closed its control stream")]
    ControlEnded,
    #[error("its control stream broke")]
    Control(#[from] ReadError),
    #[error("the connection ended")]
    Connection(#[from] ConnectionError),
}

impl Fault {
    const fn code(&self) -> CloseCode {
        match self {
            Self::Violation(_) | Self::Frame(_) | Self::ControlEnded | Self::Control(_) => {
                CloseCode::ProtocolViolation
            }
            Self::Slow => CloseCode::LimitExceeded,
            Self::TokenExpired => CloseCode::TokenExpired,
            Self::Connection(_) => CloseCode::Done,
        }
    }
}

/// Serves a session until it ends, and removes it.
pub(super) async fn serve(shared: &Arc<Shared>, joined: Joined, connected: Instant) {
    let Joined { mut registration, welcome, mut inbox, hello, admission, send, .. } = joined;
    let Joined { mut receive, mut decoder, .. } = joined;
    let handle = registration.handle.clone();
    let (frames, frames_out) = mpsc::channel(MAX_FRAMES);
    let (seen, mut seen_inbox) = mpsc::channel(MAX_SEEN);
    let routes = Arc::new(Routes::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(write_control(handle.clone(), send, frames_out));
    tasks.spawn(read_datagrams(shared.clone(), handle.clone(), routes.clone(), seen));
    tasks.spawn(write_datagrams(shared.clone(), handle.clone()));

    let mut serving = Serving {
        shared,
        handle: &handle,
        session: Session::new(hello.intent, Limits::default()),
        routes,
        frames,
        path: PathWatch::new(handle.connection.remote_address(), rand::random()),
        admission,
        hello,
        welcomed: Instant::now(),
        notice_at: Instant::now(),
    };
    let mut tick = ticks();
    let expiry = tokio::time::sleep(until_unix(serving.admission.expires_unix));
    tokio::pin!(expiry);
    // A fresh session is home from WELCOME on: it is announced before anything else is waited for.
    let mut step = serving.say(welcome).and_then(|()| serving.carry_out());
    let fault = loop {
        if let Err(fault) = step {
            break fault;
        }
        registration.set_phase(serving.session.phase_name());
        step = tokio::select! {
            biased;
            error = handle.connection.closed() => Err(Fault::Connection(error)),
            changed = inbox.command.changed() => {
                let command = *inbox.command.borrow_and_update();
                if changed.is_ok() { serving.obey(command); }
                Ok(())
            }
            Some(note) = inbox.notes.recv() => { serving.note(note); Ok(()) }
            read = read_control(&mut receive, &mut decoder) => serving.read(read),
            Some(seen) = seen_inbox.recv() => { serving.seen(seen); Ok(()) }
            _ = tick.tick() => { serving.tick(); Ok(()) }
            () = &mut expiry => Err(Fault::TokenExpired),
        };
        step = step.and_then(|()| serving.carry_out());
    };
    serving.end(&fault, &mut registration, connected);
    tasks.shutdown().await;
}

impl Serving<'_> {
    /// Takes what the control stream's reader brought.
    fn read(&mut self, read: Result<Frame, Fault>) -> Result<(), Fault> {
        Ok(self.session.handle_frame(read?)?)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Serve => self.session.stay(),
            Command::Go { slot: Slot { reason, deadline, reconnect_after }, at } => {
                let passed = at.elapsed();
                // A zero deadline is never sent: a session without time is closed by the drain.
                let deadline = deadline.saturating_sub(passed).max(Duration::from_millis(1));
                let reconnect_after = reconnect_after.saturating_sub(passed);
                let ticket =
                    self.shared.gate.ticket(&self.hello, &self.admission, self.handle.stamp());
                self.session.go_away(GoAwayOrder {
                    reason,
                    deadline,
                    reconnect_after,
                    route_ids: Vec::new(),
                    ticket,
                });
                self.shared.metrics.goaway_sent.inc();
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Presence(peer, state) => self.session.presence(peer, state),
            Note::Sender(peer) => self.session.sender(peer),
            Note::Refreshed(peer) => self.session.refreshed(peer),
        }
        if self.handle.has_missed() {
            self.session.resync();
        }
    }

    fn seen(&mut self, seen: Seen) {
        let now = Instant::now();
        match seen {
            Seen::Offline { alias } if self.notice_at <= now => {
                self.notice_at = now + NOTICE_INTERVAL;
                self.session.notice(alias, NoticeCode::Offline);
            }
            Seen::Offline { .. } => {}
            Seen::EchoReply { nonce } => {
                let address = self.handle.connection.remote_address();
                let ended = self.path.answered(nonce, address, now);
                self.count_migration(ended);
            }
        }
    }

    fn tick(&mut self) {
        let connection = &self.handle.connection;
        let asked = self.path.tick(connection.remote_address(), connection.rtt(), Instant::now());
        if let Some(nonce) = asked.echo {
            let dropped = self.handle.egress.push(datagram::echo(nonce));
            self.shared.metrics.dropped(Dropped::QueueFull, dropped);
        }
        self.count_migration(asked.ended);
    }

    fn count_migration(&self, ended: Option<Attempt>) {
        if let Some(Attempt { failed, took }) = ended {
            self.shared.metrics.migration(REBIND, failed, took);
            info!(session = %self.handle.id, failed = failed.map(FailureClass::name), ?took, "path migration");
        }
    }

    fn say(&self, frame: Frame) -> Result<(), Fault> {
        self.frames.try_send(frame).map_err(|_| Fault::Slow)
    }

    /// Carries out what the state machine wants.
    fn carry_out(&mut self) -> Result<(), Fault> {
        let directory = &self.shared.directory;
        while let Some(order) = self.session.poll_order() {
            match order {
                Order::Send(frame) => self.say(frame)?,
                Order::Announce => {
                    let Some(stamp) = directory.announce(self.handle) else {
                        // It is noticed as the end of the connection.
                        self.handle.close(CloseCode::Superseded, End::Superseded);
                        return Ok(());
                    };
                    if self.handle.intent == Intent::Handover {
                        self.shared.metrics.handover(None, self.welcomed.elapsed());
                    }
                    self.session.announced(self.handle.intent, stamp);
                }
                Order::Open { alias, peer } => {
                    self.routes.open(alias, directory.open(self.handle, peer))
                }
                Order::Shut { alias, last } => {
                    self.routes.shut(alias);
                    last.iter().for_each(|peer| directory.shut(self.handle, peer));
                }
                Order::SenderKnown { peer, alias } => self.handle.sender_known(peer, alias),
                Order::Watch { peer } => directory.watch(self.handle, peer),
                Order::Unwatch { peer } => directory.unwatch(self.handle, &peer),
                Order::Acknowledged => {
                    self.shared.metrics.goaway_acked.inc();
                    directory.acknowledged(self.handle.id);
                }
                Order::Moved { stamp, relay } => directory.moved(self.handle, stamp, relay),
            }
        }
        Ok(())
    }

    /// The session is over: it is removed.
    fn end(&mut self, fault: &Fault, registration: &mut Registration, connected: Instant) {
        let closed_by_client = matches!(
            fault,
            Fault::Connection(ConnectionError::ApplicationClosed(_)) | Fault::ControlEnded
        );
        let by_client = if closed_by_client { End::ClosedByClient } else { End::Lost };
        let end = self.handle.closed_as().unwrap_or(by_client);
        self.handle.close(fault.code(), end);
        let class = match fault {
            _ if end == End::Superseded => FailureClass::Superseded,
            Fault::Connection(error) => class_of(error),
            _ => FailureClass::ApplicationCloseLocal,
        };
        let migration = self.path.ended(class, Instant::now());
        self.count_migration(migration);
        if self.handle.intent == Intent::Handover && !self.handle.was_announced() {
            self.shared.metrics.handover(Some(class), Duration::ZERO);
        }
        let outcome = self.session.outcome(end);
        let (watched, routed) = (self.session.watched(), self.session.routed());
        registration.remove(outcome, &watched, &routed);
        let (session, peer) = (self.handle.id, self.handle.peer);
        info!(%session, ?peer, ?end, outcome = outcome.name(), after = ?connected.elapsed(), %fault, "ended");
    }
}

/// The next frame. Cancel-safe: bytes that were read are in the decoder.
async fn read_control(
    receive: &mut RecvStream,
    decoder: &mut baton_protocol::frame::Decoder,
) -> Result<Frame, Fault> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        let chunk = receive.read_chunk(16 * 1024, true).await?.ok_or(Fault::ControlEnded)?;
        decoder.push(&chunk.bytes);
    }
}

async fn write_control(
    handle: Arc<Handle>,
    mut send: SendStream,
    mut frames: mpsc::Receiver<Frame>,
) {
    while let Some(frame) = frames.recv().await {
        handle.egress.control_written();
        if let Err(error) = send.write_all(&frame.encode()).await {
            debug!(%error, "control stream");
            return;
        }
    }
}

async fn read_datagrams(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    routes: Arc<Routes>,
    seen: mpsc::Sender<Seen>,
) {
    while let Ok(datagram) = handle.connection.read_datagram().await {
        if let Some(what) = take(&handle, &routes, &datagram, &shared.metrics) {
            // What finds no room is said again by the next datagram.
            let _ = seen.try_send(what);
        }
    }
}

async fn write_datagrams(shared: Arc<Shared>, handle: Arc<Handle>) {
    let too_large = || shared.metrics.dropped(Dropped::TooLarge, 1);
    handle.egress.run(&handle.connection, too_large).await;
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How long until that many seconds after the Unix epoch, bounded so that it fits a timer.
fn until_unix(seconds: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(seconds).saturating_sub(now).min(Duration::from_secs(365 * 24 * 3600))
}
