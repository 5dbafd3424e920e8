//! GOAWAY: the relay asks a session to move.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::welcome::{read_duration, write_duration};
use super::{MAX_TICKET, RouteId, read_route_ids, write_route_ids};
use crate::varint;
use crate::wire::{Reader, WireError, put_bytes};

/// Why a session must move.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GoAwayReason {
    /// A new version takes the relay's place.
    Rollout,
    /// There will be fewer relays.
    ScaleDown,
    /// The relay's machine is needed, or is going.
    Disruption,
    /// The pool ends: there is nowhere to go. Clients do not dial again.
    Closing,
}

impl GoAwayReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Rollout, Self::ScaleDown, Self::Disruption, Self::Closing];

    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Rollout => 0,
            Self::ScaleDown => 1,
            Self::Disruption => 2,
            Self::Closing => 3,
        }
    }

    /// Its name in the drain contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::ScaleDown => "scale-down",
            Self::Disruption => "disruption",
            Self::Closing => "closing",
        }
    }
}

/// When a session must have moved, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoAway {
    /// Above that of every earlier GOAWAY of the session.
    pub sequence: u64,
    /// Why.
    pub reason: GoAwayReason,
    /// From the arrival of this frame until the relay closes the session. Never zero: a relay that would send zero closes instead.
    pub deadline: Duration,
    /// From the arrival of this frame until this session should begin to move: its slot, so that not all come at once.
    pub reconnect_after: Duration,
    /// Ways to relays that serve and have room; empty where the relays cannot steer.
    pub route_ids: Vec<RouteId>,
    /// For the handover.
    pub ticket: Bytes,
}

impl GoAway {
    pub(super) fn write(&self, out: &mut BytesMut) {
        varint::write(self.sequence, out);
        out.put_u8(self.reason.number());
        write_duration(self.deadline, out);
        write_duration(self.reconnect_after, out);
        write_route_ids(&self.route_ids, out);
        put_bytes(&self.ticket, out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let sequence = body.varint("sequence")?;
        let number = body.u8("reason")?;
        let reason = GoAwayReason::ALL.into_iter().find(|reason| reason.number() == number);
        let goaway = Self {
            sequence,
            reason: reason.ok_or(WireError::Value { field: "reason" })?,
            deadline: read_duration(body, "deadline")?,
            reconnect_after: read_duration(body, "slot")?,
            route_ids: read_route_ids(body)?,
            ticket: body.bytes("ticket", MAX_TICKET)?,
        };
        if goaway.deadline.is_zero() {
            return Err(WireError::Value { field: "deadline" });
        }
        Ok(goaway)
    }
}
