//! The life of one session: from its connection to its end.
//!
//! ```text
//! connection -> HELLO -> admitted -> WELCOME, registered -> served -> ended, removed
//! ```
//!
//! A session is three tasks, owned and joined by the one that made them: the control stream's reader (which holds the state
//! machine), a writer of control frames and datagrams, and a reader of datagrams.

mod connect;
mod glance;
pub(crate) mod handle;
mod ingress;
mod intake;
mod join;
mod outbox;
mod pace;
mod paths;
mod policy;
mod refusals;
mod registration;
pub(crate) mod rounds;
mod routes;
mod senders;
mod serve;
mod serving;

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::HELLO_TIMEOUT;
use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::frame::Intent;
use baton_protocol::liveness::Timers;
use quinn::{Connection, ConnectionError, Incoming};
use tracing::{Instrument, Span, debug, info_span};

use crate::auth::Gate;
use crate::directory::{Directory, Joining};
use crate::egress::{Budget, Guard};
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::paths::ProbeKey;
use crate::rates;

/// What all sessions of a relay share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) gate: Gate,
    pub(crate) epoch: u32,
    pub(crate) max_payload: usize,
    pub(crate) guard: Guard,
    pub(crate) budget: Arc<Budget>,
    pub(crate) rates: rates::Current,
    pub(crate) timers: Timers,
    pub(crate) probe_key: Arc<ProbeKey>,
}

/// Serves what comes in, from its first packet to its end.
///
/// What it takes to join is boxed and freed: a task is as large as the largest thing that it ever does, and a session is idle
/// for hours.
pub(crate) fn run(
    shared: Arc<Shared>,
    incoming: Incoming,
    joining: Joining,
) -> impl Future<Output = ()> + Send {
    let joining = Box::pin(begin(shared.clone(), incoming, joining));
    async move {
        if let Some((joined, connected, span)) = joining.await {
            serve::serve(&shared, joined, connected).instrument(span).await;
        }
    }
}

async fn begin(
    shared: Arc<Shared>,
    incoming: Incoming,
    joining: Joining,
) -> Option<(Box<join::Joined>, Instant, Span)> {
    let from = incoming.remote_address();
    let connection = connect::connect(incoming, &shared.lines.handshakes, &shared.metrics).await?;
    let (connected, span) = (Instant::now(), info_span!("session", %from));
    let joined = admit(shared, connection, joining).instrument(span.clone()).await?;
    Some((joined, connected, span))
}

async fn admit(
    shared: Arc<Shared>,
    connection: Connection,
    joining: Joining,
) -> Option<Box<join::Joined>> {
    let attempt = async {
        tokio::select! {
            joined = join::join(&shared, &connection) => joined,
            error = discard_datagrams(&connection) => Err(error.into()),
        }
    };
    let joined = tokio::time::timeout(HELLO_TIMEOUT, attempt).await;
    match joined {
        Ok(Ok(joined)) => {
            drop(joining);
            shared.metrics.handshake("ok");
            Some(Box::new(joined))
        }
        Ok(Err(error)) => {
            debug!(%error, "not admitted");
            shared.metrics.handshake(error.result());
            if let join::JoinError::Refused { intent, refused, .. } = &error {
                shared.metrics.refused(refused.code);
                if *intent == Intent::Handover {
                    shared.metrics.handover(Some(FailureClass::Refused), Duration::ZERO);
                }
            }
            drop(joining);
            error.finish(&connection).await;
            None
        }
        Err(_) => {
            shared.metrics.handshake("timeout");
            close(&connection, CloseCode::HelloTimeout);
            None
        }
    }
}

/// Nobody has a route before WELCOME: what comes until then must not fill the connection's buffer.
async fn discard_datagrams(connection: &Connection) -> ConnectionError {
    loop {
        if let Err(error) = connection.read_datagram().await {
            return error;
        }
    }
}

/// Closes a connection with a code and its name.
pub(crate) fn close(connection: &Connection, code: CloseCode) {
    connection.close(code.code().into(), code.name().as_bytes());
}

/// Why a connection ended, in the names of failures.
pub(crate) fn class_of(error: &ConnectionError) -> FailureClass {
    match error {
        ConnectionError::VersionMismatch => FailureClass::VersionNegotiation,
        ConnectionError::TransportError(_) | ConnectionError::ConnectionClosed(_) => {
            FailureClass::TransportError
        }
        ConnectionError::ApplicationClosed(_) => FailureClass::ApplicationCloseRemote,
        ConnectionError::Reset => FailureClass::StatelessReset,
        ConnectionError::TimedOut => FailureClass::IdleTimeout,
        ConnectionError::LocallyClosed => FailureClass::ApplicationCloseLocal,
        ConnectionError::CidsExhausted => FailureClass::Other,
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_an_idle_session_is_small() {
        let size = size_of_future(run);
        // It differs a little with the features of dependencies, and those with what is built beside it. With what the runtime adds
        // it is 2,048, or 128 more.
        assert!(size <= 1936, "{size} bytes, ten thousand times");
    }
}
