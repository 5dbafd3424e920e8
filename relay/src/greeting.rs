//! From a client's first bytes to a HELLO that was judged, without I/O: all that strangers reach before they are known.

use baton_protocol::frame::{Decoder, Frame, FrameError, Hello, Refused};
use baton_protocol::hello::{self, EXPORTER_LENGTH};

use crate::auth::{self, Admission, Gate};

/// What may come before HELLO is whole, in bytes: HELLO itself at its longest, and frames that are skipped.
const MAX_BEFORE_HELLO: usize = 16 * 1024;

/// What a client has said so far, before it said HELLO.
#[derive(Debug, Default)]
pub struct Greeting {
    decoder: Decoder,
    pushed: usize,
}

/// First bytes that are no HELLO. The connection is closed with `protocol_violation`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// They cannot be read.
    #[error("it does not speak the protocol")]
    Frame(#[from] FrameError),
    /// They say something else.
    #[error("the first frame is {0} instead of HELLO")]
    NotHello(&'static str),
    /// They never come to it.
    #[error("no HELLO within {MAX_BEFORE_HELLO} bytes")]
    TooMuch,
}

impl Greeting {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pushed = self.pushed.saturating_add(bytes.len());
        self.decoder.push(bytes);
    }

    /// HELLO, as soon as all of it is there.
    pub fn hello(&mut self) -> Result<Option<Hello>, GreetingError> {
        match self.decoder.next_frame()? {
            Some(Frame::Hello(hello)) => Ok(Some(*hello)),
            Some(other) => Err(GreetingError::NotHello(other.name())),
            None if self.pushed > MAX_BEFORE_HELLO => Err(GreetingError::TooMuch),
            None => Ok(None),
        }
    }

    /// The rest of the stream, whose frames may have their full length now.
    #[must_use]
    pub fn authenticated(mut self) -> Decoder {
        self.decoder.authenticated();
        self.decoder
    }
}

impl Gate {
    /// Judges a HELLO at `now_unix` (seconds after the Unix epoch) on the connection that exports keying material like `export`:
    /// it is given the context. The outer error is the connection's, the inner one is the client's.
    pub fn judge<E>(
        &self,
        hello: &Hello,
        now_unix: u64,
        export: impl FnOnce(&[u8; 32]) -> Result<[u8; EXPORTER_LENGTH], E>,
    ) -> Result<Result<Admission, Refused>, E> {
        let admission = match self.admit(hello, now_unix) {
            Ok(admission) => admission,
            Err(refused) => return Ok(Err(refused)),
        };
        let exported = export(&hello::exporter_context(hello))?;
        Ok(match hello::verify(hello, &exported) {
            Ok(()) => Ok(admission),
            Err(_) => Err(auth::bad_signature(&hello.peer)),
        })
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::frame::Intent;
    use baton_protocol::id::{Instance, PeerId};
    use bytes::Bytes;

    use super::*;

    fn hello() -> Hello {
        Hello {
            intent: Intent::Fresh,
            peer: PeerId::from_bytes([1; 32]),
            instance: Instance::from_bytes([2; 16]),
            capabilities: 0,
            token: Bytes::from_static(b"token"),
            ticket: Bytes::new(),
            signature: [3; 64],
        }
    }

    #[test]
    fn a_hello_is_heard_byte_by_byte_and_what_follows_is_kept() {
        let mut greeting = Greeting::default();
        for byte in Frame::Hello(Box::new(hello())).encode() {
            assert_eq!(greeting.hello(), Ok(None));
            greeting.push(&[byte]);
        }
        greeting.push(&Frame::Active.encode());
        assert_eq!(greeting.hello(), Ok(Some(hello())));
        assert_eq!(greeting.authenticated().next_frame(), Ok(Some(Frame::Active)));
    }

    #[test]
    fn another_first_frame_is_an_error() {
        let mut greeting = Greeting::default();
        greeting.push(&Frame::Active.encode());
        assert_eq!(greeting.hello(), Err(GreetingError::NotHello("ACTIVE")));
    }

    #[test]
    fn frames_that_are_skipped_do_not_put_hello_off_for_ever() {
        let mut greeting = Greeting::default();
        let skipped = [&[0x40, 0x40, 0x50, 0][..], &[0; 4096]].concat();
        let heard = (0..5).find_map(|n| {
            greeting.push(&skipped);
            greeting.hello().err().map(|error| (n, error))
        });
        assert_eq!(heard, Some((3, GreetingError::TooMuch)));
    }

    #[test]
    fn a_connection_that_exports_nothing_is_not_the_clients_fault() {
        let gate =
            Gate::new(auth::Mode::Open, "ns/edge".into(), auth::Tickets { keys: vec![], epoch: 0 });
        assert_eq!(gate.judge(&hello(), 0, |_| Err("broken")), Err("broken"));
        let refused = gate.judge::<()>(&hello(), 0, |_| Ok([0; EXPORTER_LENGTH])).unwrap();
        assert_eq!(refused.unwrap_err().code, baton_protocol::frame::RefusalCode::BadSignature);
    }
}
