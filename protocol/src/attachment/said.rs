//! What an attachment is told beside frames, and what it says.

use std::time::Duration;

use bytes::Bytes;

use super::Slot;
use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{Frame, GoAwayReason, Intent, Refused, RouteId};
use crate::id::{RelayId, Stamp};

/// Why a dial came to nothing before the relay spoke.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DialFailure {
    /// QUIC CONNECTION_REFUSED: the relay that the packets landed on goes away. Another port may land elsewhere.
    TurnedAway,
    /// Anything else.
    Failed(FailureClass),
}

/// How an established connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// The relay closed it with this code.
    ByRelay(CloseCode),
    /// It was lost.
    Lost(FailureClass),
}

/// What the caller must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect from a new socket and send HELLO.
    Dial {
        /// The name of the new connection.
        slot: Slot,
        /// For HELLO.
        intent: Intent,
        /// For HELLO; none with a fresh intent.
        ticket: Option<Bytes>,
        /// Where GOAWAY says that there is room.
        route_ids: Vec<RouteId>,
    },
    /// Write this on the control stream.
    Send {
        /// Of which connection.
        slot: Slot,
        /// What.
        frame: Frame,
    },
    /// From now on send datagrams, routes and watches here. Its readers must have run since WELCOME.
    Use {
        /// Which connection.
        slot: Slot,
    },
    /// Close it; stop dialing it if it is not connected yet.
    Close {
        /// Which connection.
        slot: Slot,
        /// With this code.
        code: CloseCode,
    },
    /// Tell whoever wants to know.
    Event(Event),
}

/// What happened to the attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Attached, where there was nothing before.
    Attached {
        /// To which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// GOAWAY came.
    MustMove {
        /// Why.
        reason: GoAwayReason,
        /// How long there is.
        deadline: Duration,
    },
    /// GOAWAY was withdrawn before the move began.
    MayStay,
    /// Moved without a gap.
    HandedOver {
        /// From which relay.
        from: RelayId,
        /// To which.
        to: RelayId,
        /// Under which stamp.
        stamp: Stamp,
        /// From the dial that succeeded to ACTIVE_OK.
        took: Duration,
    },
    /// A handover failed late, and the session that had not been left is home again.
    Reclaimed {
        /// At which relay.
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
    /// It is over; nothing more will be tried.
    Ended(Ended),
}

/// Why nothing more will be tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Another process attached with the same key.
    Superseded,
    /// The pool is closing.
    Closing,
    /// The relay will never let us in with what we have.
    Refused(Refused),
    /// The owner closed it.
    ByOwner,
}
