//! PATH_REPORT: what a client tells its relay about an attempt to migrate.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use crate::class::FailureClass;
use crate::frame::{read_duration, write_duration};
use crate::varint;
use crate::wire::{Reader, WireError};

/// How many attempts a client may make: so many at once, and one for each further interval. A client paces itself a little below
/// what its relay lets it do; beyond that a relay looks at none.
#[derive(Debug)]
pub struct Allowance {
    /// When none of it will be used up.
    whole_at: Instant,
}

/// Of a relay, and of a client.
const AT_RELAY: (u32, Duration) = (64, Duration::from_millis(125));
const AT_CLIENT: (u32, Duration) = (48, Duration::from_millis(150));

impl Allowance {
    /// All of it.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { whole_at: now }
    }

    /// Uses up one of a relay's. Whether there was one.
    pub fn take_at_relay(&mut self, now: Instant) -> bool {
        self.take(AT_RELAY, now)
    }

    /// Uses up one of a client's. Whether there was one.
    pub fn take_at_client(&mut self, now: Instant) -> bool {
        self.take(AT_CLIENT, now)
    }

    fn take(&mut self, (at_once, interval): (u32, Duration), now: Instant) -> bool {
        let whole_at = self.whole_at.max(now) + interval;
        let may = whole_at <= now + interval * at_once;
        if may {
            self.whole_at = whole_at;
        }
        may
    }
}

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

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test starts somewhere; only differences matter"
    )]

    use super::*;

    #[test]
    fn a_client_that_paces_itself_never_meets_the_relays_bound() {
        let start = Instant::now();
        let (mut client, mut relay) = (Allowance::new(start), Allowance::new(start));
        let mut made = 0;
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            while client.take_at_client(now) {
                made += 1;
                assert!(relay.take_at_relay(now), "after {ms} ms");
            }
        }
        assert_eq!(made, 48 + 59_999 / 150);
        assert!(
            (0..1000).filter(|_| relay.take_at_relay(start)).count() < 64,
            "without time no more of it"
        );
    }
}
