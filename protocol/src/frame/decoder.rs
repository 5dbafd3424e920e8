//! Cuts frames out of the bytes of a control stream.

use bytes::{Bytes, BytesMut};

use super::{Frame, MAX_BODY, MAX_BODY_UNAUTHENTICATED};
use crate::varint;
use crate::wire::WireError;

/// A control stream that breaks the protocol. The connection is closed with `ProtocolViolation`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame that is longer than allowed now.
    #[error("a frame of {length} bytes, where at most {limit} are allowed")]
    TooLong {
        /// As announced.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
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

/// Collects bytes and gives out frames. It holds at most one frame and what came in the same read.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), limit: MAX_BODY_UNAUTHENTICATED }
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
        self.limit = MAX_BODY;
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one. Unknown frames that may be skipped are.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some((number, body)) = self.cut()? {
            if let Some(frame) = Frame::read(number, body)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Cuts one frame off the front. The length is judged as soon as it is known, before the body is waited for.
    fn cut(&mut self) -> Result<Option<(u64, Bytes)>, FrameError> {
        let Some((number, type_length)) = varint::read(&self.buffer) else { return Ok(None) };
        let Some((length, length_length)) = varint::read(&self.buffer[type_length..]) else {
            return Ok(None);
        };
        let body_length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit)
            .ok_or(FrameError::TooLong { length, limit: self.limit })?;
        let head = type_length + length_length;
        if self.buffer.len() < head + body_length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(head + body_length);
        Ok(Some((number, frame.split_off(head).freeze())))
    }
}
