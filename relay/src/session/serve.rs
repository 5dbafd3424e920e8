//! A registered session, until it ends.

use std::sync::Arc;
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{
    CAPABILITY_PATHS, CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, CAPABILITY_RECLAIM,
    CAPABILITY_STREAMS, Decoder, Frame, FrameError,
};
use baton_protocol::session::Violation;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream};
use tokio::task::JoinSet;
use tracing::debug;

use super::Shared;
use super::handle::{Handle, Inbox};
use super::intake::Intake;
use super::join::Joined;
use super::outbox::Outbox;
use super::pace::Pace;
use super::registration::Registration;
use super::serving::Serving;
use crate::metrics::{Direction, Dropped};

/// What this relay knows of what clients may know (section 18 of docs/protocol.md).
const CAPABILITIES: u64 = CAPABILITY_STREAMS
    | CAPABILITY_RECLAIM
    | CAPABILITY_PATHS
    | CAPABILITY_POLICIES
    | CAPABILITY_POLICY_FIRST;

/// The longest read from a control stream.
const READ: usize = 4096;

/// What one session does until all others had their turn.
const IN_A_TURN: u8 = 8;

/// What ended a session from within.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it broke the protocol")]
    Violation(#[from] Violation),
    #[error("it does not speak the protocol")]
    Frame(#[from] FrameError),
    #[error("it does not read what it is told")]
    Slow,
    #[error("it was to become its peer's home, and never did")]
    Idle,
    #[error("it has moved")]
    Moved,
    #[error("it goes and comes back without end")]
    Restless,
    #[error("nothing was heard of it, and it did not come back")]
    Gone,
    #[error("it changes whom it lets in without end")]
    Fickle,
    #[error("its access token has expired")]
    TokenExpired,
    #[error("it is on the pool's allowlist no more")]
    NotAllowed,
    #[error("it closed its control stream")]
    ControlEnded,
    #[error("its control stream broke")]
    Control(#[from] ReadError),
    #[error("the connection ended")]
    Connection(#[from] ConnectionError),
}

impl Fault {
    pub(super) const fn code(&self) -> CloseCode {
        match self {
            Self::Violation(_) | Self::Frame(_) | Self::ControlEnded | Self::Control(_) => {
                CloseCode::ProtocolViolation
            }
            Self::Slow | Self::Idle | Self::Restless | Self::Fickle => CloseCode::LimitExceeded,
            Self::Moved => CloseCode::Moved,
            Self::Gone => CloseCode::Evicted,
            Self::TokenExpired | Self::NotAllowed => CloseCode::TokenExpired,
            Self::Connection(_) => CloseCode::Done,
        }
    }
}

/// Serves a session until it ends, and removes it.
pub(super) async fn serve(shared: &Arc<Shared>, joined: Box<Joined>, connected: Instant) {
    let handle = joined.registration.handle.clone();
    let (mut parts, mut step) = begin(shared, &handle, joined);
    let Parts { registration, inbox, receive, decoder, serving, intake, outbox, tasks } =
        &mut parts;
    // Boxed, as what it waits for seldom: a session's task holds for hours what it holds.
    let (mut pace, mut passes) = (Box::new(Pace::new(Instant::now())), 0_u8);
    let fault = loop {
        // What is due is done on every pass: what never ends must not keep it waiting.
        if let Err(fault) = step.and_then(|()| serving.handle_timeout(Instant::now())) {
            break fault;
        }
        registration.set_phase(serving.phase());
        passes = passes.wrapping_add(1);
        if passes.is_multiple_of(IN_A_TURN) {
            Box::pin(shared.lines.control.others_first()).await;
        }
        let room = outbox.has_room();
        let pause = pace.pause(Instant::now());
        let may_ask = room && pause.is_none();
        let timeout = serving.poll_timeout().into_iter().chain(pause).min();
        step = tokio::select! {
            biased;
            error = handle.connection.closed() => Err(Fault::Connection(error)),
            changed = inbox.command.changed() => {
                let command = *inbox.command.borrow_and_update();
                if changed.is_ok() { serving.obey(command); }
                Ok(())
            }
            () = handle.news.notified() => serving.handle_news(Instant::now()),
            // A client that asks faster than it reads waits: its frames stay in the stream's window.
            note = handle.notes.next(), if room => { serving.note(note); Ok(()) }
            read = read_control(receive, decoder, &mut pace), if may_ask => {
                serving.read(read)
            }
            () = outbox.room(), if !room => Ok(()),
            seen = intake.seen.next(), if room => { serving.seen(seen); Ok(()) }
            Ok(stream) = handle.connection.accept_uni() => {
                // There are as many as the client may have open; those that have ended go.
                while tasks.try_join_next().is_some() {}
                tasks.spawn(intake.clone().read_detour(stream));
                Ok(())
            }
            () = until(timeout) => Ok(()),
        };
        step = step.and_then(|()| serving.carry_out());
    };
    serving.end(&fault, registration, connected);
    tasks.shutdown().await;
    shared.metrics.dropped(Dropped::Ended, handle.egress.close());
}

/// Waits until then; without a time, for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// What a session is made of while it is served.
struct Parts<'a> {
    registration: Registration,
    inbox: Inbox,
    receive: RecvStream,
    decoder: Decoder,
    serving: Serving<'a>,
    intake: Arc<Intake>,
    outbox: Arc<Outbox>,
    tasks: JoinSet<()>,
}

/// Begins to serve a session. What is needed only here is gone when this returns; whatever [`serve`] holds, it holds for hours.
fn begin<'a>(
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    joined: Box<Joined>,
) -> (Parts<'a>, Result<(), Fault>) {
    let Joined { registration, welcome, inbox, hello, admission, send, .. } = *joined;
    let Joined { receive, decoder, limits, .. } = *joined;
    let outbox = Arc::new(Outbox::new());
    let intake = Arc::new(Intake::new(shared, handle));
    let mut tasks = JoinSet::new();
    tasks.spawn(write(shared.clone(), handle.clone(), send, outbox.clone()));
    tasks.spawn(intake.clone().read_datagrams());

    let known = hello.capabilities & CAPABILITIES;
    let admitted = (&hello, admission);
    let mut serving =
        Serving::new(shared, handle, admitted, limits, intake.clone(), outbox.clone());
    // A fresh session is home from WELCOME on, unless it is to have a policy first: it is announced before anything else is
    // waited for.
    let step = serving.welcome(welcome, known).and_then(|()| serving.carry_out());
    let parts = Parts { registration, inbox, receive, decoder, serving, intake, outbox, tasks };
    (parts, step)
}

/// The next frame, or `None` if what was read is none yet. Cancel-safe: bytes that were read are in the decoder.
async fn read_control(
    receive: &mut RecvStream,
    decoder: &mut Decoder,
    pace: &mut Pace,
) -> Result<Option<Frame>, Fault> {
    if let Some(frame) = decoder.next_frame()? {
        pace.frame(Instant::now());
        return Ok(Some(frame));
    }
    let chunk = receive.read_chunk(READ, true).await?.ok_or(Fault::ControlEnded)?;
    pace.bytes(chunk.bytes.len(), Instant::now());
    decoder.push(&chunk.bytes);
    Ok(None)
}

/// Writes what goes to the client, control bytes and datagrams. One task, because ten thousand sessions have it.
async fn write(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    mut send: SendStream,
    outbox: Arc<Outbox>,
) {
    let datagrams =
        handle.egress.run(&handle.connection, Direction::Out, &shared.metrics, &shared.lines);
    tokio::join!(write_control(&handle, &mut send, &outbox), datagrams);
}

async fn write_control(handle: &Handle, send: &mut SendStream, outbox: &Outbox) {
    loop {
        let frames = outbox.next().await;
        handle.egress.control_written(&handle.connection);
        if let Err(error) = send.write_all(&frames).await {
            debug!(%error, "control stream");
            return;
        }
        outbox.write();
    }
}
