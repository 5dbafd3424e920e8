//! Datagrams between clients and relays.

use baton_protocol::datagram::{self, Datagram, FIRST_ALIAS, LAST_ALIAS};
use bytes::Bytes;

/// Any bytes are a datagram or an error; what was read is written as something that is read as the same.
pub(crate) fn datagram(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(read) = Datagram::decode(&bytes) else { return };
    let written = match &read {
        Datagram::Aliased { alias, payload } => {
            assert!((FIRST_ALIAS..=LAST_ALIAS).contains(alias), "alias {alias}");
            datagram::aliased(*alias, payload)
        }
        Datagram::Long { sender, payload } => datagram::long(*sender, payload),
        Datagram::Echo { nonce } => {
            let answer = datagram::echo_reply(*nonce, bytes.len());
            assert!(answer.len() <= bytes.len(), "an answer that is larger than the question");
            datagram::echo(*nonce)
        }
        Datagram::EchoReply { nonce } => datagram::echo_reply(*nonce, 0),
        Datagram::PathConfirm { attempt, nonce } => {
            let answer = datagram::path_confirmed(*attempt);
            assert!(answer.len() <= bytes.len(), "an answer that is larger than the question");
            datagram::path_confirm(*attempt, *nonce, 0)
        }
        Datagram::PathConfirmed { attempt } => datagram::path_confirmed(*attempt),
    };
    assert!(written.len() <= bytes.len());
    assert_eq!(Datagram::decode(&written), Ok(read));
}
