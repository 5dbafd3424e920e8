//! The codes that connections end with: QUIC application error codes (RFC 9000 section 20.2).
//!
//! Numbers are never reused. The first digit says at whom to look: 0x0_ nobody, 0x1_ the client, 0x2_ the relay.

/// Why a connection between a client and a relay was closed by its application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseCode {
    /// The one who closed has no more use for it.
    Done,
    /// The peer is served elsewhere now: the end of a handover or a resume.
    Moved,
    /// GOAWAY's deadline came and the session was still there. The client should attach elsewhere at once.
    GoawayTimeout,
    /// Another instance attached with the same key. Terminal: the loser must not come back by itself.
    Superseded,
    /// The pool is being closed: there is nowhere to go.
    Closing,
    /// The relay is going down and could not drain.
    Shutdown,
    /// HELLO was answered with REFUSED, which says why.
    Refused,
    /// HELLO did not come in time.
    HelloTimeout,
    /// A frame that cannot be read, or that must not come now.
    ProtocolViolation,
    /// More than the limits of WELCOME allow.
    LimitExceeded,
    /// The access token has expired.
    TokenExpired,
    /// Nothing was heard for longer than a session is kept.
    Evicted,
    /// Something broke in the one who closed.
    Internal,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::Done,
        Self::Moved,
        Self::GoawayTimeout,
        Self::Superseded,
        Self::Closing,
        Self::Shutdown,
        Self::Refused,
        Self::HelloTimeout,
        Self::ProtocolViolation,
        Self::LimitExceeded,
        Self::TokenExpired,
        Self::Evicted,
        Self::Internal,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0x00,
            Self::Moved => 0x01,
            Self::GoawayTimeout => 0x02,
            Self::Superseded => 0x03,
            Self::Closing => 0x04,
            Self::Shutdown => 0x05,
            Self::Refused => 0x10,
            Self::HelloTimeout => 0x11,
            Self::ProtocolViolation => 0x12,
            Self::LimitExceeded => 0x13,
            Self::TokenExpired => 0x14,
            Self::Evicted => 0x15,
            Self::Internal => 0x20,
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|close| u64::from(close.code()) == code)
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Moved => "moved",
            Self::GoawayTimeout => "goaway_timeout",
            Self::Superseded => "superseded",
            Self::Closing => "closing",
            Self::Shutdown => "shutdown",
            Self::Refused => "refused",
            Self::HelloTimeout => "hello_timeout",
            Self::ProtocolViolation => "protocol_violation",
            Self::LimitExceeded => "limit_exceeded",
            Self::TokenExpired => "token_expired",
            Self::Evicted => "evicted",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_are_used_once() {
        for close in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(u64::from(close.code())), Some(close));
        }
        assert_eq!(CloseCode::from_code(0xff), None);
    }
}
