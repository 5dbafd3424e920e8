//! What routes and watches speak of.

use crate::wire::{Reader, WireError};

/// Why a route does not work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeCode {
    /// No such peer is attached, or it is none that this peer may reach: the two look the same.
    Offline,
    /// The session is going away: no new routes.
    GoingAway,
    /// As many routes as allowed are open.
    TooMany,
}

impl NoticeCode {
    /// Every code.
    pub const ALL: [Self; 3] = [Self::Offline, Self::GoingAway, Self::TooMany];

    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Offline => 1,
            Self::GoingAway => 2,
            Self::TooMany => 3,
        }
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("code")?;
        Self::ALL
            .into_iter()
            .find(|code| code.number() == number)
            .ok_or(WireError::Value { field: "code" })
    }
}

/// Whether a peer is attached somewhere in the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerState {
    /// It is not.
    Offline,
    /// It is.
    Online,
}

impl PeerState {
    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Offline => 0,
            Self::Online => 1,
        }
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        match body.u8("state")? {
            0 => Ok(Self::Offline),
            1 => Ok(Self::Online),
            _ => Err(WireError::Value { field: "state" }),
        }
    }
}
