//! Cuts frames out of the bytes of a control stream.

use super::{Frame, MAX_BODY, MAX_BODY_UNAUTHENTICATED};
use crate::cutter::{Cutter, TooLong};
use crate::wire::WireError;

/// A control stream that breaks the protocol. The connection is closed with `ProtocolViolation`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame that is longer than allowed now.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A type that must not be ignored and that we do not know.
    #[error("a frame of the unknown type {number:#x}, which must not be skipped")]
    Unknown {
        /// The type.
        number: u64,
    },
    /// A known frame with a body that cannot be read.
    #[error("a {name} frame whose body cannot be read")]
    Body {
        /// Of the frame.
        name: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
}

/// Collects bytes and gives out frames.
#[derive(Debug)]
pub struct Decoder {
    cutter: Cutter,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { cutter: Cutter::new(MAX_BODY_UNAUTHENTICATED) }
    }
}

impl Decoder {
    /// A decoder that takes small frames only, until [`authenticated`](Self::authenticated) is called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on frames may have their full length.
    pub fn authenticated(&mut self) {
        self.cutter.set_limit(MAX_BODY);
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.cutter.push(bytes);
    }

    /// The next whole frame, if there is one. Unknown frames that may be skipped are.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some((number, body)) = self.cutter.cut()? {
            if let Some(frame) = Frame::read(number, body)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}
