//! Why a move failed. The names are label values of metrics and fields of reports: they never change and are never reused.

/// Class of a failed migration, handover or resume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureClass {
    /// A probe of the new path was not answered in time.
    ProbeTimeout,
    /// The new path was used, and no echo came back over it in time.
    ValidationTimeout,
    /// The session went back to the old path.
    Reverted,
    /// Nothing was heard for the idle timeout.
    IdleTimeout,
    /// The new connection was not made in time.
    HandshakeTimeout,
    /// This end closed the connection.
    ApplicationCloseLocal,
    /// The other end closed the connection.
    ApplicationCloseRemote,
    /// The other end broke QUIC.
    TransportError,
    /// The other end speaks no version of QUIC that we do.
    VersionNegotiation,
    /// The other end had forgotten the connection.
    StatelessReset,
    /// The new relay refused.
    Refused,
    /// Another instance of the peer took over.
    Superseded,
    /// The one who wanted it wants it no more.
    Cancelled,
    /// The drain's deadline came first.
    DeadlineExceeded,
    /// None of these.
    Other,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 15] = [
        Self::ProbeTimeout,
        Self::ValidationTimeout,
        Self::Reverted,
        Self::IdleTimeout,
        Self::HandshakeTimeout,
        Self::ApplicationCloseLocal,
        Self::ApplicationCloseRemote,
        Self::TransportError,
        Self::VersionNegotiation,
        Self::StatelessReset,
        Self::Refused,
        Self::Superseded,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Other,
    ];

    /// The byte on the wire (PATH_REPORT); 0 is none of them.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The class with this byte.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.number() == number)
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProbeTimeout => "probe_timeout",
            Self::ValidationTimeout => "validation_timeout",
            Self::Reverted => "reverted",
            Self::IdleTimeout => "idle_timeout",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ApplicationCloseLocal => "application_close_local",
            Self::ApplicationCloseRemote => "application_close_remote",
            Self::TransportError => "transport_error",
            Self::VersionNegotiation => "version_negotiation",
            Self::StatelessReset => "stateless_reset",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Other => "other",
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_of_its_own_from_one_on() {
        let numbers = FailureClass::ALL.map(FailureClass::number);
        assert_eq!(numbers, std::array::from_fn(|index| index as u8 + 1));
        assert_eq!(numbers.map(FailureClass::of_number), FailureClass::ALL.map(Some));
        assert_eq!((FailureClass::of_number(0), FailureClass::of_number(16)), (None, None));
    }

    #[test]
    fn the_names_are_these_and_in_this_order() {
        let names = FailureClass::ALL.map(FailureClass::name).join(" ");
        assert_eq!(
            names,
            "probe_timeout validation_timeout reverted idle_timeout handshake_timeout application_close_local \
             application_close_remote transport_error version_negotiation stateless_reset refused superseded cancelled \
             deadline_exceeded other"
        );
    }
}
