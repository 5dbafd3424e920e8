//! Reading and writing the fields of frames.

use bytes::{BufMut, Bytes};

use crate::varint;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field goes on beyond the end.
    #[error("the {field} is cut short")]
    Short {
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that it must not have.
    #[error("the {field} has a value that it must not have")]
    Value {
        /// Which field.
        field: &'static str,
    },
    /// Bytes are left over after the last field.
    #[error("{count} bytes are left over")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// Reads fields from the front of a frame's body.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// A reader of `body`.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self { rest: body }
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A variable-length integer.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        let (value, length) = varint::read(&self.rest).ok_or(WireError::Short { field })?;
        let _ = self.rest.split_to(length);
        Ok(value)
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let bytes = self.take(N, field)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }

    /// A length (varint) and as many bytes, at most `limit`.
    pub fn bytes(&mut self, field: &'static str, limit: usize) -> Result<Bytes, WireError> {
        let length = self.count(field, limit)?;
        self.take(length, field)
    }

    /// A length and as many bytes of UTF-8, at most `limit` of them.
    pub fn text(&mut self, field: &'static str, limit: usize) -> Result<String, WireError> {
        let bytes = self.bytes(field, limit)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Value { field })
    }

    /// A number (varint) that must be `limit` or less.
    pub fn count(&mut self, field: &'static str, limit: usize) -> Result<usize, WireError> {
        usize::try_from(self.varint(field)?)
            .ok()
            .filter(|count| *count <= limit)
            .ok_or(WireError::Value { field })
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(WireError::Trailing { count }),
        }
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<Bytes, WireError> {
        if self.rest.len() < count {
            return Err(WireError::Short { field });
        }
        Ok(self.rest.split_to(count))
    }
}

/// Writes a length (varint) and the bytes.
pub fn put_bytes(bytes: &[u8], out: &mut impl BufMut) {
    varint::write(bytes.len() as u64, out);
    out.put_slice(bytes);
}
