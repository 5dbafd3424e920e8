//! What happens to a client, told to whoever listens.
//!
//! Nobody who listens is waited for: each listener has room for [`UNREAD`] events, and one that reads too slowly is told how
//! many it has missed.

use std::time::Duration;

use baton_protocol::attachment::{self, Closed, Ended};
use baton_protocol::class::FailureClass;
use baton_protocol::frame::{GoAwayReason, Intent, LimitKind, PeerState, Refused};
use baton_protocol::id::{PeerId, RelayId, Stamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events that a slow listener may leave unread before it misses the oldest of them.
pub(crate) const UNREAD: usize = 256;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Attached, where there was nothing before.
    Attached {
        /// To which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// The relay asks this client to move to another.
    MustMove {
        /// Why.
        reason: GoAwayReason,
        /// How long there is.
        deadline: Duration,
    },
    /// The relay has taken that back before the move began.
    MayStay,
    /// Moved to another relay without a gap.
    HandedOver {
        /// From which relay.
        from: RelayId,
        /// To which.
        to: RelayId,
        /// Under which stamp.
        stamp: Stamp,
        /// From the dial that succeeded until the new relay was in use.
        took: Duration,
    },
    /// The session goes on at another address of this client: it migrated there, or its relay sees it there, and asks whether it
    /// answers.
    Migrated {
        /// Which relay.
        relay: Option<RelayId>,
    },
    /// An attempt to migrate failed; the session goes on by the path that it had.
    MigrationFailed {
        /// Why.
        class: FailureClass,
    },
    /// A move to another relay failed late: this client goes on at the one that it had not left, which asks it to move again.
    Reclaimed {
        /// Which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// Attached again after a loss.
    Resumed {
        /// To which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// An attempt to attach, move or resume failed; it will be made again.
    Failed {
        /// Which.
        intent: Intent,
        /// Why.
        class: FailureClass,
        /// What the relay said, if it refused.
        refused: Option<Refused>,
    },
    /// The session was lost.
    Lost {
        /// How.
        how: Closed,
    },
    /// A peer that is watched came or went.
    Presence {
        /// Which peer.
        peer: PeerId,
        /// How it is now.
        state: PeerState,
    },
    /// The relay drops, or refuses, what is beyond this limit. Comes once per limit and session.
    Limited {
        /// Which.
        kind: LimitKind,
        /// How much it allows: a second for datagrams and bytes, at a time for routes and watches.
        allowed: u64,
    },
    /// A peer of this client's group sent something, and is not on its list. What it sent is dropped; it is heard from its next
    /// datagram on if it is [allowed](crate::Client::allow). Comes once for a peer until it is allowed or blocked; and again on
    /// another session.
    Knock {
        /// Which peer.
        peer: PeerId,
    },
    /// The relay in use does not keep this client's policy, because it is of a version that knows none: it lets the client's group
    /// in, and nobody else. What is not wanted is dropped at this end. Comes once for each such session.
    PolicyNotKept {
        /// Which relay.
        relay: Option<RelayId>,
    },
    /// Another peer is about to close: it takes no new streams, and those that are open should come to their end.
    PeerClosing {
        /// Which peer.
        peer: PeerId,
    },
    /// This client is being closed: what is under way may end.
    Closing,
    /// It is over; nothing more will be tried. [`Ended::Superseded`] among others.
    Ended(Ended),
    /// So many events were not read in time, and are lost.
    Missed(u64),
}

impl From<attachment::Event> for Event {
    fn from(event: attachment::Event) -> Self {
        use attachment::Event as From;
        match event {
            From::Attached { relay, stamp } => Self::Attached { relay, stamp },
            From::MustMove { reason, deadline } => Self::MustMove { reason, deadline },
            From::MayStay => Self::MayStay,
            From::HandedOver { from, to, stamp, took } => {
                Self::HandedOver { from, to, stamp, took }
            }
            From::Reclaimed { relay, stamp } => Self::Reclaimed { relay, stamp },
            From::Resumed { relay, stamp } => Self::Resumed { relay, stamp },
            From::Failed { intent, class, refused } => Self::Failed { intent, class, refused },
            From::Lost { how } => Self::Lost { how },
            From::Ended(why) => Self::Ended(why),
        }
    }
}

/// What happens to a client from some moment on.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; none once the client is closed. Whoever reads too slowly gets [`Event::Missed`] for the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_missed_and_holds_up_nobody() {
        let (sender, receiver) = broadcast::channel(UNREAD);
        let mut events = Events { receiver };
        for _ in 0..UNREAD + 7 {
            sender.send(Event::MayStay).unwrap();
        }
        sender.send(Event::Closing).unwrap();
        drop(sender);
        assert_eq!(events.next().await, Some(Event::Missed(8)));
        let mut rest = Vec::new();
        while let Some(event) = events.next().await {
            rest.push(event);
        }
        assert_eq!(rest.len(), UNREAD);
        assert_eq!(rest.last(), Some(&Event::Closing));
    }
}
