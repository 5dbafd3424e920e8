//! From a connection to a session: HELLO, its judgement, WELCOME, registration.

use std::sync::Arc;
use std::time::Duration;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{
    CAPABILITY_POLICY_FIRST, Decoder, Frame, Hello, Intent, RefusalCode, Refused, Retry, Welcome,
};
use baton_protocol::hello::{EXPORTER_LABEL, EXPORTER_LENGTH};
use baton_protocol::session::Limits;
use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tracing::info;

use super::handle::{Handle, Inbox, Who};
use super::registration::Registration;
use super::{Shared, close};
use crate::auth::Admission;
use crate::congestion;
use crate::directory::unix_ms;
use crate::egress::Egress;
use crate::greeting::{Greeting, GreetingError};
use crate::metrics::{ATTACHMENTS, SESSIONS};

/// The longest read from a control stream.
const READ: usize = 4096;

/// How long a refused client has to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// How long a peer that attaches too often is asked to wait. Once a second is always allowed.
const TOO_OFTEN_RETRY: Duration = Duration::from_secs(1);

/// How long a full relay asks clients to wait.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// A session that was just registered.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) registration: Registration,
    /// The first frame that it is told.
    pub(super) welcome: Frame,
    pub(super) inbox: Inbox,
    pub(super) hello: Hello,
    pub(super) admission: Admission,
    /// What it may have at a time: as WELCOME says.
    pub(super) limits: Limits,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    pub(super) decoder: Decoder,
}

/// A connection that became no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// It ended first.
    #[error("the connection ended before HELLO")]
    Connection(#[from] ConnectionError),
    /// Its control stream ended first.
    #[error("the control stream ended before HELLO")]
    Ended,
    /// Its control stream cannot be read.
    #[error("the control stream cannot be read")]
    Read(#[from] ReadError),
    /// Its control stream cannot be written.
    #[error("the control stream cannot be written")]
    Write(#[from] WriteError),
    /// It says something else than HELLO.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// The TLS connection exports no keying material.
    #[error("the connection exports no keying material")]
    Exporter,
    /// It is not let in. It has been told so.
    #[error("refused: {}", refused.message)]
    Refused {
        /// As it was told.
        refused: Refused,
        /// What it wanted.
        intent: Intent,
        /// Open until the client has read it.
        stream: SendStream,
    },
}

impl JoinError {
    /// The label of `handshakes_total`.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Greeting(_) => "violation",
            _ => "failed",
        }
    }

    /// Ends the connection, in a way that the client learns why.
    pub(super) async fn finish(self, connection: &Connection) {
        let code = match self {
            Self::Refused { mut stream, .. } => {
                let _ = stream.finish();
                let _ = tokio::time::timeout(REFUSAL_LINGER, stream.stopped()).await;
                CloseCode::Refused
            }
            Self::Greeting(_) => CloseCode::ProtocolViolation,
            _ => CloseCode::Internal,
        };
        close(connection, code);
    }
}

/// Reads HELLO, judges it, answers, and registers the session.
pub(super) async fn join(
    shared: &Arc<Shared>,
    connection: &Connection,
) -> Result<Joined, JoinError> {
    let (send, mut receive) = connection.accept_bi().await?;
    let mut greeting = Greeting::default();
    let mut hello = read_hello(&mut receive, &mut greeting).await?;
    shared.lines.hellos.others_first().await;
    let judged = shared.gate.judge(&hello, unix_ms() / 1000, |context| export(connection, context));
    let admission = match judged? {
        Ok(admission) => admission,
        Err(refused) => return Err(refuse(send, refused, hello.intent).await),
    };
    if !shared.rates.may_attach(hello.peer) {
        shared.metrics.attach_limited(ATTACHMENTS);
        return Err(refuse(send, too_often(), hello.intent).await);
    }
    let decoder = greeting.authenticated();
    congestion::begin_with(connection, admission.window);
    // They have done their work, and what a session keeps it keeps for hours.
    (hello.token, hello.ticket) = (Bytes::new(), Bytes::new());
    let (handle, inbox) = make_handle(shared, connection, &hello, &admission);
    let handle = Arc::new(handle);
    let limits = shared.rates.get().held;
    let welcome = welcome(shared, &handle, &admission, limits);
    let welcome = Frame::Welcome(Box::new(welcome));
    if shared.directory.add(&handle).is_err() {
        shared.metrics.attach_limited(SESSIONS);
        let refused = Refused {
            code: RefusalCode::Full,
            retry: Retry::After(FULL_RETRY),
            message: "this relay has as many sessions as it may have".into(),
        };
        return Err(refuse(send, refused, hello.intent).await);
    }
    // From here on it is registered, and nothing is waited for: WELCOME is written by the session's own tasks, because a client
    // that does not read it must not keep its session from being served, drained and closed.
    let phase = if handle.is_standby() { "standby" } else { "home" };
    let registration = Registration::new(shared, handle, phase);
    let handle = &registration.handle;
    info!(session = %handle.id, peer = ?hello.peer, intent = hello.intent.name(), stamp = %handle.stamp(), "attached");
    Ok(Joined { registration, welcome, inbox, hello, admission, limits, send, receive, decoder })
}

async fn read_hello(receive: &mut RecvStream, greeting: &mut Greeting) -> Result<Hello, JoinError> {
    loop {
        if let Some(hello) = greeting.hello()? {
            return Ok(hello);
        }
        let chunk = receive.read_chunk(READ, true).await?.ok_or(JoinError::Ended)?;
        greeting.push(&chunk.bytes);
    }
}

fn export(connection: &Connection, context: &[u8]) -> Result<[u8; EXPORTER_LENGTH], JoinError> {
    let mut exported = [0; EXPORTER_LENGTH];
    connection
        .export_keying_material(&mut exported, EXPORTER_LABEL, context)
        .map_err(|_| JoinError::Exporter)?;
    Ok(exported)
}

async fn refuse(mut stream: SendStream, refused: Refused, intent: Intent) -> JoinError {
    match stream.write_all(&Frame::Refused(refused.clone()).encode()).await {
        Ok(()) => JoinError::Refused { refused, intent, stream },
        Err(error) => error.into(),
    }
}

fn too_often() -> Refused {
    Refused {
        code: RefusalCode::TooSoon,
        retry: Retry::After(TOO_OFTEN_RETRY),
        message: "this peer attaches too often".into(),
    }
}

fn make_handle(
    shared: &Shared,
    connection: &Connection,
    hello: &Hello,
    admission: &Admission,
) -> (Handle, Inbox) {
    let who = Who {
        id: shared.directory.next_session(),
        peer: hello.peer,
        instance: hello.instance,
        group: admission.group.as_str().into(),
        intent: hello.intent,
        stamp: shared.directory.next_stamp(&hello.peer, admission.known),
    };
    let egress = Egress::new(shared.guard, shared.budget.clone());
    let (handle, inbox) = Handle::new(who, connection.clone(), egress);
    if hello.capabilities & CAPABILITY_POLICY_FIRST != 0 {
        handle.set_policy_first();
    }
    (handle, inbox)
}

fn welcome(shared: &Shared, handle: &Handle, admission: &Admission, limits: Limits) -> Welcome {
    Welcome {
        session: handle.id,
        relay: shared.directory.me(),
        epoch: shared.epoch,
        stamp: handle.stamp(),
        observed: handle.connection.remote_address(),
        max_datagram: shared.max_payload as u64,
        max_routes: limits.routes as u64,
        max_watches: limits.watches as u64,
        idle: shared.timers.idle,
        keep_alive: shared.timers.keep_alive,
        ticket: shared.gate.ticket(handle.whose(), admission, handle.stamp(), admission.window),
        route_ids: Vec::new(),
    }
}
