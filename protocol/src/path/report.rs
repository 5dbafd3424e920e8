//! PATH_REPORT: what a client tells its relay about an attempt to migrate.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::class::FailureClass;
use crate::frame::{read_duration, write_duration};
use crate::varint;
use crate::wire::{Reader, WireError};

/// The outcome of one attempt, as its client saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathReport {
    /// Which attempt: the client numbers them from 1, over all of its sessions.
    pub attempt: u64,
    /// Why it failed; `None` if it did not.
    pub failed: Option<FailureClass>,
    /// From the first probe, or from the switch where there was none, to the end (whole milliseconds).
    pub took: Duration,
}

impl PathReport {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        varint::write(self.attempt, out);
        out.put_u8(self.failed.map_or(0, FailureClass::number));
        write_duration(self.took, out);
    }

    pub(crate) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let attempt = match body.varint("attempt")? {
            0 => return Err(WireError::Value { field: "attempt" }),
            attempt => attempt,
        };
        let failed = match body.u8("class")? {
            0 => None,
            number => {
                Some(FailureClass::of_number(number).ok_or(WireError::Value { field: "class" })?)
            }
        };
        Ok(Self { attempt, failed, took: read_duration(body, "duration")? })
    }
}
