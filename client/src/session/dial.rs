//! A dial: from an address to WELCOME.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::attachment::DialFailure;
use baton_protocol::class::FailureClass;
use baton_protocol::detour::LONGEST;
use baton_protocol::frame::{
    CAPABILITY_PATHS, CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, CAPABILITY_RECLAIM,
    CAPABILITY_STREAMS, Decoder, Frame, FrameError, Hello, Intent, RefusalCode, Refused, Retry,
    RouteId, Welcome,
};
use baton_protocol::hello::{EXPORTER_LABEL, EXPORTER_LENGTH, exporter_context, sign};
use baton_protocol::id::Instance;
use bytes::Bytes;
use quinn::{ConnectionError, Endpoint, RecvStream, SendStream};

use crate::class;
use crate::identity::Identity;
use crate::profile::Profile;
use crate::renewal::Shown;
use crate::transport::{Hints, Outer};
use crate::unverified::ends_of;

/// How long a new session is warmed: so many round trips, and so much more, but no longer than that.
const ROUND_TRIPS: u32 = 4;
const WARM: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(2);

/// How much of the control stream is read at a time.
const CHUNK: usize = 16 * 1024;

/// All that one dial needs.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) outer: Outer,
    pub(crate) profile: Arc<Profile>,
    pub(crate) identity: Identity,
    pub(crate) instance: Instance,
    pub(crate) intent: Intent,
    pub(crate) ticket: Option<Bytes>,
    pub(crate) route: Option<RouteId>,
    /// The session is told a policy before anything may come for it.
    pub(crate) policy_first: bool,
    /// Which of the addresses, counted around.
    pub(crate) attempt: usize,
    /// When the ticket was the latest.
    pub(crate) begun: Instant,
    /// Of the session that this one follows, if that still lives.
    pub(crate) hints: Option<Hints>,
}

/// A connection on which WELCOME has come.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) endpoint: Endpoint,
    /// A second handle of its socket.
    pub(crate) socket: UdpSocket,
    pub(crate) connection: quinn::Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) decoder: Decoder,
    pub(crate) welcome: Box<Welcome>,
    pub(crate) shown: Shown,
}

/// A dial that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the address {address} cannot be found: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("a socket for {address} cannot be made: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    #[error("a connection to {address} cannot begin: {source}")]
    Begin { address: SocketAddr, source: quinn::ConnectError },
    #[error("the access token cannot be read: {0}")]
    Token(#[source] io::Error),
    #[error("the connection to {address} failed: {source}")]
    Connection { address: SocketAddr, source: ConnectionError },
    #[error("the relay at {address} broke the protocol: {what}")]
    Protocol { address: SocketAddr, what: String },
    #[error("refused ({}): {}", .0.code.name(), .0.message)]
    Refused(Refused),
}

impl DialError {
    pub(crate) fn failure(&self) -> DialFailure {
        match self {
            Self::Connection { source, .. } => class::dial_failure(source),
            // A relay that goes away and has no time to lose: knock elsewhere at once.
            Self::Refused(refused) if hurries(refused) => DialFailure::TurnedAway,
            Self::Protocol { .. } => DialFailure::Failed(FailureClass::TransportError),
            _ => DialFailure::Failed(FailureClass::Other),
        }
    }
}

fn hurries(refused: &Refused) -> bool {
    refused.code == RefusalCode::Draining && refused.retry == Retry::After(Duration::ZERO)
}

impl Dial {
    pub(crate) async fn dial(&self) -> Result<Box<Greeted>, DialError> {
        let address = self.resolve().await?;
        let (endpoint, socket) =
            self.outer.endpoint(address).map_err(|source| DialError::Socket { address, source })?;
        let failed = |source| DialError::Connection { address, source };
        let config = self.outer.client_config(self.route, self.hints);
        let connecting = endpoint
            .connect_with(config, address, &self.profile.server_name.to_str())
            .map_err(|source| DialError::Begin { address, source })?;
        let connection = connecting.await.map_err(failed)?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(failed)?;
        // The control stream first, among streams; datagrams are held back by the gate.
        let _ = send.set_priority(i32::MAX);
        let hello = self.hello(&connection, address)?;
        let shown = match self.intent {
            Intent::Fresh => Shown::Token { ends: ends_of(&hello.token) },
            Intent::Handover | Intent::Resume => Shown::Ticket { dialed: self.begun },
        };
        let hello = Frame::Hello(Box::new(hello));
        let lost = || connection.close_reason().unwrap_or(ConnectionError::Reset);
        send.write_all(&hello.encode()).await.map_err(|_| failed(lost()))?;
        let mut decoder = Decoder::new();
        let answer = loop {
            let broken =
                |error: FrameError| DialError::Protocol { address, what: error.to_string() };
            if let Some(frame) = decoder.next_frame().map_err(broken)? {
                break frame;
            }
            match receive.read_chunk(CHUNK, true).await {
                Ok(Some(chunk)) => decoder.push(&chunk.bytes),
                Ok(None) => {
                    return Err(DialError::Protocol {
                        address,
                        what: "it ended the control stream".into(),
                    });
                }
                Err(_) => return Err(failed(connection.closed().await)),
            }
        };
        match answer {
            Frame::Welcome(welcome) => {
                decoder.authenticated();
                tracing::debug!(%address, relay = %welcome.relay, "welcome");
                if let Some(hints) = self.hints.filter(|_| self.intent == Intent::Handover) {
                    warm(&connection, hints).await;
                }
                Ok(Box::new(Greeted {
                    endpoint,
                    socket,
                    connection,
                    send,
                    receive,
                    decoder,
                    welcome,
                    shown,
                }))
            }
            Frame::Refused(refused) => Err(DialError::Refused(refused)),
            other => Err(DialError::Protocol {
                address,
                what: format!("{} before WELCOME", other.name()),
            }),
        }
    }

    fn capabilities(&self) -> u64 {
        let policy_first = if self.policy_first { CAPABILITY_POLICY_FIRST } else { 0 };
        CAPABILITY_STREAMS
            | CAPABILITY_RECLAIM
            | CAPABILITY_PATHS
            | CAPABILITY_POLICIES
            | policy_first
    }

    /// Another address at each attempt, so that one that does not answer is not all there is.
    async fn resolve(&self) -> Result<SocketAddr, DialError> {
        let names = &self.profile.addresses;
        // A profile has at least one address: it is validated.
        let name = names.get(self.attempt % names.len().max(1)).cloned().unwrap_or_default();
        let failed = |source| DialError::Resolve { address: name.clone(), source };
        let found: Vec<_> = tokio::net::lookup_host(&name).await.map_err(failed)?.collect();
        let around = self.attempt / names.len().max(1);
        let chosen = found.get(around % found.len().max(1)).copied();
        chosen.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    fn hello(
        &self,
        connection: &quinn::Connection,
        address: SocketAddr,
    ) -> Result<Hello, DialError> {
        let token = match self.intent {
            Intent::Fresh => self.profile.token.read().map_err(DialError::Token)?,
            Intent::Handover | Intent::Resume => Bytes::new(),
        };
        let mut hello = Hello {
            intent: self.intent,
            peer: self.identity.peer(),
            instance: self.instance,
            capabilities: self.capabilities(),
            token,
            ticket: self.ticket.clone().unwrap_or_default(),
            signature: [0; 64],
        };
        let mut exported = [0; EXPORTER_LENGTH];
        connection
            .export_keying_material(&mut exported, EXPORTER_LABEL, &exporter_context(&hello))
            .map_err(|_| DialError::Protocol {
                address,
                what: "TLS exports no keying material".into(),
            })?;
        sign(&mut hello, self.identity.key(), &exported);
        Ok(hello)
    }
}

/// Waits until datagrams of the length that the session before carried fit this one, too, which takes some round trips: it is not
/// used before that, and the session before still is. A way that is narrower is not waited for long.
async fn warm(connection: &quinn::Connection, hints: Hints) {
    let wanted = hints.datagram.min(LONGEST);
    let until = Instant::now() + (connection.rtt() * ROUND_TRIPS + WARM.0).min(WARM.1);
    while connection.max_datagram_size().unwrap_or(0) < wanted && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_relay_that_has_no_time_turns_away() {
        let refused =
            |code, retry| DialError::Refused(Refused { code, retry, message: String::new() });
        let at_once = refused(RefusalCode::Draining, Retry::After(Duration::ZERO));
        assert_eq!(at_once.failure(), DialFailure::TurnedAway);
        let later = refused(RefusalCode::Draining, Retry::After(Duration::from_secs(1)));
        assert_ne!(later.failure(), DialFailure::TurnedAway);
    }
}
