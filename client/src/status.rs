//! How a client is, for people and for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use baton_protocol::attachment::{Ended, Event};
use baton_protocol::class::FailureClass;
use baton_protocol::id::{RelayId, Stamp};

/// A client at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// Where it is attached; none while it is not.
    pub relay: Option<RelayId>,
    /// Of the last attachment.
    pub stamp: Option<Stamp>,
    /// The round trip to the relay.
    pub rtt: Option<Duration>,
    /// The path to the relay.
    pub path: Option<Path>,
    /// Whether the relay has asked it to move and it has not yet.
    pub must_move: bool,
    /// Moves without a gap.
    pub handovers: u64,
    /// Moves that failed late, so that the session before went on.
    pub reclaims: u64,
    /// Attachments after a loss.
    pub resumes: u64,
    /// Changes of this client's address, its own and those that only its relay noticed; the session went on.
    pub migrations: u64,
    /// Attempts to change it that failed, by class; the session went on as before.
    pub failed_migrations: BTreeMap<FailureClass, u64>,
    /// What is under way and held: forwarded connections and files.
    pub active: usize,
    /// Attempts to attach, move or resume that failed, by class.
    pub failures: BTreeMap<FailureClass, u64>,
    /// Datagrams that were dropped on this side: too many at once, or without a session to go by.
    pub dropped: u64,
    /// What went wrong last, for people.
    pub last_problem: Option<String>,
    /// Why it is over, if it is.
    pub ended: Option<Ended>,
}

/// The path of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// The address that the socket is bound to.
    pub local: Option<SocketAddr>,
    /// Where the relay saw this client, at WELCOME or when it migrated.
    pub observed: SocketAddr,
    /// The relay's address, or its balancer's.
    pub remote: SocketAddr,
    /// Tells QUIC connections of this process apart: a migration keeps it, each attachment has another one.
    pub connection: usize,
}

impl Status {
    /// Counts what happened.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Attached { relay, stamp } => self.attached(*relay, *stamp),
            Event::MustMove { .. } => self.must_move = true,
            Event::MayStay => self.must_move = false,
            Event::HandedOver { to, stamp, .. } => {
                self.handovers += 1;
                self.attached(*to, *stamp);
            }
            Event::Reclaimed { relay, stamp } => {
                self.reclaims += 1;
                self.attached(*relay, *stamp);
                self.must_move = true;
            }
            Event::Resumed { relay, stamp } => {
                self.resumes += 1;
                self.attached(*relay, *stamp);
            }
            Event::Failed { class, refused, .. } => {
                *self.failures.entry(*class).or_default() += 1;
                if let Some(refused) = refused {
                    self.last_problem =
                        Some(format!("refused ({}): {}", refused.code.name(), refused.message));
                }
            }
            Event::Lost { how } => {
                self.relay = None;
                self.must_move = false;
                self.last_problem = Some(format!("the session was lost: {how:?}"));
            }
            Event::Ended(why) => {
                self.relay = None;
                self.must_move = false;
                self.ended = Some(why.clone());
            }
        }
    }

    fn attached(&mut self, relay: RelayId, stamp: Stamp) {
        self.relay = Some(relay);
        self.stamp = Some(stamp);
        self.must_move = false;
    }
}
