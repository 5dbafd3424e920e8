//! A meter for each of many, in bounded room: whoever was silent for a second is forgotten, because a new meter is as good as
//! its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::{Meter, Quantity, Throughput};

/// A full table is looked through for those who may go this often: it takes long.
const SWEEP: Duration = Duration::from_millis(100);

/// See the [module](self). Those for whom there is no room share one meter.
#[derive(Debug)]
pub(crate) struct Table<K> {
    limit: Throughput,
    most: usize,
    meters: HashMap<K, Meter>,
    rest: Meter,
    sweep_at: Instant,
}

impl<K: Eq + Hash> Table<K> {
    /// For so many at most, each of whom has this limit.
    pub(crate) fn new(limit: Throughput, most: usize, now: Instant) -> Self {
        let rest = Meter::new(limit, now);
        Self { limit, most, meters: HashMap::new(), rest, sweep_at: now }
    }

    /// From now on this is the limit. What has passed counts on.
    pub(crate) fn set(&mut self, limit: Throughput, now: Instant) {
        self.limit = limit;
        self.rest.set(limit, now);
        if limit.is_none() {
            self.meters = HashMap::new();
        }
        self.meters.values_mut().for_each(|meter| meter.set(limit, now));
    }

    /// Whether a datagram of so many bytes may pass, for this one.
    pub(crate) fn take(&mut self, key: K, bytes: usize, now: Instant) -> Result<(), Quantity> {
        if self.limit.is_none() {
            return Ok(());
        }
        if let Some(meter) = self.meters.get_mut(&key) {
            return meter.take(bytes, now);
        }
        if self.meters.len() >= self.most && self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.meters.retain(|_, meter| !meter.is_full(now));
        }
        if self.meters.len() >= self.most {
            return self.rest.take(bytes, now);
        }
        self.meters.entry(key).or_insert_with(|| Meter::new(self.limit, now)).take(bytes, now)
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::bucket::Rate;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(datagrams: u64) -> Throughput {
        Throughput { datagrams: Rate::new(datagrams), bytes: None }
    }

    fn passes(table: &mut Table<u32>, key: u32, now: Instant) -> bool {
        table.take(key, 1, now).is_ok()
    }

    #[test]
    fn each_has_its_own() {
        let now = Instant::now();
        let mut table = Table::new(limit(2), 10, now);
        let took = [1, 1, 1, 2, 2, 2].map(|key| passes(&mut table, key, now));
        assert_eq!(took, [true, true, false, true, true, false]);
    }

    #[test]
    fn those_without_room_share_one_until_others_have_been_silent() {
        let now = Instant::now();
        let mut table = Table::new(limit(2), 3, now);
        assert!((0..3).all(|key| passes(&mut table, key, now)));
        let took = (3..1000).filter(|key| passes(&mut table, *key, now)).count();
        assert_eq!((took, table.meters.len()), (2, 3));
        assert!(passes(&mut table, 0, now), "who was first keeps its own");
        let later = now + SECOND;
        assert!((10..13).all(|key| passes(&mut table, key, later)));
        assert_eq!(table.meters.len(), 3);
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let now = Instant::now();
        let mut table = Table::new(limit(0), 10, now);
        assert!((0..1000).all(|_| passes(&mut table, 7, now)));
        assert_eq!(table.meters.len(), 0);
        table.set(limit(1), now);
        assert_eq!([7, 7].map(|key| passes(&mut table, key, now)), [true, false]);
        table.set(limit(0), now);
        assert_eq!(table.meters.len(), 0);
    }
}
