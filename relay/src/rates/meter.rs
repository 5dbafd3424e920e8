//! Counts datagrams and their bytes.

use std::time::Instant;

use baton_protocol::bucket::{Bucket, Rate};

use super::Throughput;

/// What there is too much of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quantity {
    Datagrams,
    Bytes,
}

/// See the [module](self). Where nothing is limited it costs two comparisons.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    datagrams: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    pub(crate) fn new(limit: Throughput, now: Instant) -> Self {
        let bucket = |rate: Rate| Bucket::new(rate, now);
        Self { datagrams: limit.datagrams.map(bucket), bytes: limit.bytes.map(bucket) }
    }

    /// From now on this is the limit. What has passed counts on.
    pub(crate) fn set(&mut self, limit: Throughput, now: Instant) {
        let set = |bucket: &mut Option<Bucket>, rate: Option<Rate>| match (&mut *bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
            (_, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
        };
        set(&mut self.datagrams, limit.datagrams);
        set(&mut self.bytes, limit.bytes);
    }

    /// Whether it limits nothing.
    pub(crate) const fn is_off(&self) -> bool {
        self.datagrams.is_none() && self.bytes.is_none()
    }

    /// Whether it is as good as a new one.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        let is_full = |bucket: &mut Bucket| bucket.is_full(now);
        self.datagrams.as_mut().is_none_or(is_full) && self.bytes.as_mut().is_none_or(is_full)
    }

    /// Whether a datagram of so many bytes may pass. One that may not takes nothing from those that follow.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), Quantity> {
        let bytes = bytes as u64;
        if self.datagrams.as_mut().is_some_and(|bucket| !bucket.has(1, now)) {
            return Err(Quantity::Datagrams);
        }
        if self.bytes.as_mut().is_some_and(|bucket| !bucket.take(bytes, now)) {
            return Err(Quantity::Bytes);
        }
        if let Some(bucket) = &mut self.datagrams {
            bucket.take(1, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limit(datagrams: u64, bytes: u64) -> Throughput {
        Throughput { datagrams: Rate::new(datagrams), bytes: Rate::new(bytes) }
    }

    #[test]
    fn a_limit_of_nothing_limits_nothing() {
        let now = Instant::now();
        let mut meter = Meter::new(limit(0, 0), now);
        assert!((0..100_000).all(|_| meter.take(usize::MAX, now).is_ok()));
    }

    #[test]
    fn datagrams_and_bytes_are_limited_each_by_its_own() {
        let now = Instant::now();
        let mut meter = Meter::new(limit(3, 1000), now);
        let took = [400, 601, 400, 200, 1].map(|bytes| meter.take(bytes, now));
        let (datagrams, bytes) = (Err(Quantity::Datagrams), Err(Quantity::Bytes));
        assert_eq!(took, [Ok(()), bytes, Ok(()), Ok(()), datagrams]);
        assert_eq!(meter.take(1, now + Duration::from_millis(334)), Ok(()));
    }

    #[test]
    fn another_limit_holds_at_once() {
        let now = Instant::now();
        let mut meter = Meter::new(limit(0, 0), now);
        meter.set(limit(1, 0), now);
        assert_eq!((meter.take(1, now), meter.take(1, now)), (Ok(()), Err(Quantity::Datagrams)));
        meter.set(limit(2, 10), now);
        assert_eq!(meter.take(1, now), Err(Quantity::Datagrams), "what has passed counts on");
        meter.set(limit(0, 10), now);
        assert_eq!((meter.take(10, now), meter.take(1, now)), (Ok(()), Err(Quantity::Bytes)));
        meter.set(limit(0, 0), now);
        assert_eq!(meter.take(1 << 40, now), Ok(()));
    }
}
