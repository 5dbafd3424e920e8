//! What quinn says of a connection's end, in the words of the protocol.

use baton_protocol::attachment::{Closed, DialFailure};
use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use quinn::{ConnectionError, TransportErrorCode};

/// The class of an end.
pub(crate) fn class(error: &ConnectionError) -> FailureClass {
    match error {
        ConnectionError::VersionMismatch => FailureClass::VersionNegotiation,
        ConnectionError::TransportError(_) => FailureClass::TransportError,
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            FailureClass::Refused
        }
        ConnectionError::ConnectionClosed(_) => FailureClass::TransportError,
        ConnectionError::ApplicationClosed(close) => {
            match CloseCode::from_code(close.error_code.into_inner()) {
                Some(CloseCode::Superseded) => FailureClass::Superseded,
                Some(CloseCode::GoawayTimeout) => FailureClass::DeadlineExceeded,
                _ => FailureClass::ApplicationCloseRemote,
            }
        }
        ConnectionError::Reset => FailureClass::StatelessReset,
        ConnectionError::TimedOut => FailureClass::IdleTimeout,
        ConnectionError::LocallyClosed => FailureClass::ApplicationCloseLocal,
        ConnectionError::CidsExhausted => FailureClass::Other,
    }
}

/// How an established connection ended.
pub(crate) fn closed(error: &ConnectionError) -> Closed {
    if let ConnectionError::ApplicationClosed(close) = error
        && let Some(code) = CloseCode::from_code(close.error_code.into_inner())
    {
        return Closed::ByRelay(code);
    }
    Closed::Lost(class(error))
}

/// How a dial failed. Before WELCOME a timeout is the handshake's.
pub(crate) fn dial_failure(error: &ConnectionError) -> DialFailure {
    match class(error) {
        FailureClass::Refused => DialFailure::TurnedAway,
        FailureClass::IdleTimeout => DialFailure::Failed(FailureClass::HandshakeTimeout),
        class => DialFailure::Failed(class),
    }
}

#[cfg(test)]
mod tests {
    use quinn::{ApplicationClose, ConnectionClose, VarInt};

    use super::*;

    fn by_relay(code: CloseCode) -> ConnectionError {
        let error_code = VarInt::from_u32(code.code());
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason: "".into() })
    }

    fn by_quic(error_code: TransportErrorCode) -> ConnectionError {
        ConnectionError::ConnectionClosed(ConnectionClose {
            error_code,
            frame_type: None,
            reason: "".into(),
        })
    }

    #[test]
    fn every_end_has_its_class() {
        let unknown = ApplicationClose { error_code: VarInt::from_u32(0xffff), reason: "".into() };
        let table = [
            (ConnectionError::VersionMismatch, "version_negotiation"),
            (
                ConnectionError::TransportError(TransportErrorCode::PROTOCOL_VIOLATION.into()),
                "transport_error",
            ),
            (by_quic(TransportErrorCode::CONNECTION_REFUSED), "refused"),
            (by_quic(TransportErrorCode::INTERNAL_ERROR), "transport_error"),
            (by_relay(CloseCode::Superseded), "superseded"),
            (by_relay(CloseCode::GoawayTimeout), "deadline_exceeded"),
            (by_relay(CloseCode::Evicted), "application_close_remote"),
            (ConnectionError::ApplicationClosed(unknown), "application_close_remote"),
            (ConnectionError::Reset, "stateless_reset"),
            (ConnectionError::TimedOut, "idle_timeout"),
            (ConnectionError::LocallyClosed, "application_close_local"),
            (ConnectionError::CidsExhausted, "other"),
        ];
        for (error, name) in table {
            assert_eq!(class(&error).name(), name, "{error:?}");
        }
    }

    #[test]
    fn only_connection_refused_is_a_reason_to_knock_again_at_once() {
        assert_eq!(
            dial_failure(&by_quic(TransportErrorCode::CONNECTION_REFUSED)),
            DialFailure::TurnedAway
        );
        let failed = |error| dial_failure(&error);
        assert_eq!(
            failed(ConnectionError::TimedOut),
            DialFailure::Failed(FailureClass::HandshakeTimeout)
        );
        assert_eq!(
            failed(ConnectionError::Reset),
            DialFailure::Failed(FailureClass::StatelessReset)
        );
    }

    #[test]
    fn a_relays_code_is_kept() {
        for code in CloseCode::ALL {
            assert_eq!(closed(&by_relay(code)), Closed::ByRelay(code));
        }
        assert_eq!(closed(&ConnectionError::Reset), Closed::Lost(FailureClass::StatelessReset));
    }
}
