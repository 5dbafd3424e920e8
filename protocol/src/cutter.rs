//! Cuts `type varint, length varint, body` out of a stream: the form of every frame, from clients and between relays.

use bytes::{Bytes, BytesMut};

use crate::varint;

/// A frame that is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes, where at most {limit} are allowed")]
pub struct TooLong {
    /// As announced.
    pub length: u64,
    /// What is allowed.
    pub limit: usize,
}

/// Collects bytes and gives out bodies with their types. It holds at most one frame and what came in the same read.
#[derive(Debug)]
pub struct Cutter {
    buffer: BytesMut,
    limit: usize,
}

impl Cutter {
    /// A cutter of frames whose bodies have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// From now on bodies may have so many bytes.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Cuts one frame off the front, if it is there whole: its type and its body. The length is judged as soon as it is known,
    /// before the body is waited for.
    pub fn cut(&mut self) -> Result<Option<(u64, Bytes)>, TooLong> {
        let Some((number, type_length)) = varint::read(&self.buffer) else { return Ok(None) };
        let Some((length, length_length)) = varint::read(&self.buffer[type_length..]) else {
            return Ok(None);
        };
        let body_length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit)
            .ok_or(TooLong { length, limit: self.limit })?;
        let head = type_length + length_length;
        if self.buffer.len() < head + body_length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(head + body_length);
        if self.buffer.is_empty() {
            // Most control streams are silent for hours: they need not hold what their longest frame took.
            self.buffer = BytesMut::new();
        }
        Ok(Some((number, frame.split_off(head).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_silent_holds_no_buffer() {
        let mut cutter = Cutter::new(1000);
        cutter.push(&[&[7, 0x40, 200], &[1; 200][..]].concat());
        assert!(cutter.cut().unwrap().is_some());
        assert_eq!(cutter.buffer.capacity(), 0);
    }

    #[test]
    fn a_body_at_the_limit_is_cut_and_one_beyond_is_refused_before_it_has_come() {
        let mut cutter = Cutter::new(2);
        cutter.push(&[7, 2, 1]);
        assert_eq!(cutter.cut(), Ok(None), "a byte is missing");
        cutter.push(&[2, 7, 3]);
        assert_eq!(cutter.cut(), Ok(Some((7, Bytes::from_static(&[1, 2])))));
        assert_eq!(cutter.cut(), Err(TooLong { length: 3, limit: 2 }));
        cutter.set_limit(3);
        assert_eq!(cutter.cut(), Ok(None), "now its body is waited for");
    }
}
