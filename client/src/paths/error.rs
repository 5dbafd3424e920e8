//! Why a session stays on the path that it has.

use std::io;
use std::time::Duration;

use baton_protocol::class::FailureClass;

use crate::options::seconds;

/// A migration that did not take place. The session goes on by the path that it had before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// There is no session that could migrate.
    #[error("there is no session to migrate: the client is not attached")]
    NoSession,
    /// One migration at a time.
    #[error("another migration is under way: wait for it")]
    Busy,
    /// There were too many attempts: some are good for trying again, and hundreds only for a relay's log.
    #[error("too many migrations in too short a time: wait a moment")]
    TooOften,
    /// The relay gives no ids for probes now.
    #[error(
        "the relay gives nothing to probe a path with: try again later, or switch without a probe"
    )]
    NoProbes,
    /// The session ended before the migration did.
    #[error("the session ended first")]
    SessionEnded,
    /// It was taken back by its owner.
    #[error("it was taken back")]
    TakenBack,
    /// The socket cannot be used.
    #[error("the socket of the new path cannot be used: {0}")]
    Add(#[source] io::Error),
    /// The new path does not carry anything there and back.
    #[error("the new path was probed, and did not answer within {}", seconds(*after))]
    Probe {
        /// How long it was tried.
        after: Duration,
    },
    /// QUIC does not take the socket.
    #[error("the session cannot be switched to the new path: {0}")]
    Switch(#[source] io::Error),
    /// The new path was used, and nothing came back over it; the session is back on the old one.
    #[error("the new path was used, and not confirmed within {}: the session is back on the old one", seconds(*after))]
    Confirm {
        /// How long it was tried.
        after: Duration,
    },
}

impl MigrationError {
    /// Why, in the names that metrics use.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::NoSession
            | Self::Busy
            | Self::TooOften
            | Self::NoProbes
            | Self::Add(_)
            | Self::Switch(_) => FailureClass::Other,
            Self::SessionEnded => FailureClass::ApplicationCloseLocal,
            Self::TakenBack => FailureClass::Cancelled,
            Self::Probe { .. } => FailureClass::ProbeTimeout,
            Self::Confirm { .. } => FailureClass::ValidationTimeout,
        }
    }
}
