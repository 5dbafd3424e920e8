//! One direction of a bad network: pure, seeded, with time as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

/// What may be under way at once; more is lost, as in a router's queue.
const BYTES_MAX: usize = 16 << 20;

/// How a direction treats datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions {
    /// Every datagram takes at least this long.
    pub delay: Duration,
    /// And up to this much longer, each by its own chance: more than the time between two datagrams
    /// reorders them.
    pub jitter: Duration,
    /// Chance of being lost, 0 to 1.
    pub loss: f64,
    /// Chance of arriving twice, 0 to 1.
    pub repeat: f64,
}

/// One direction of a bad network.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    chance: StdRng,
    /// By arrival; the number keeps those apart that arrive together, in the order of sending.
    under_way: BTreeMap<(Instant, u64), Vec<u8>>,
    bytes: usize,
    count: u64,
}

impl Link {
    /// A link whose chances are decided by `seed`.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        Self { conditions, chance, under_way: BTreeMap::new(), bytes: 0, count: 0 }
    }

    /// A datagram is sent.
    pub fn offer(&mut self, now: Instant, datagram: &[u8]) {
        let Conditions { loss, repeat, .. } = self.conditions;
        // Drawn for every datagram, so that what happens to one does not shift the others' chances.
        let (lost, repeated) = (self.chance.random_bool(loss), self.chance.random_bool(repeat));
        let arrivals = [self.arrival(now), self.arrival(now)];
        let copies = match (lost, repeated) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        for arrival in &arrivals[..copies] {
            if self.bytes + datagram.len() > BYTES_MAX {
                return;
            }
            self.bytes += datagram.len();
            self.under_way.insert((*arrival, self.count), datagram.to_vec());
            self.count += 1;
        }
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(arrival, _), _)| arrival)
    }

    /// A datagram that has arrived by now.
    pub fn take_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let datagram = first.remove();
        self.bytes -= datagram.len();
        Some(datagram)
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        now + self.conditions.delay + self.conditions.jitter.mul_f64(self.chance.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends `count` numbered datagrams, one each millisecond, and returns what arrives, in order.
    fn arrivals(conditions: Conditions, seed: u64, count: u16) -> Vec<u16> {
        let mut link = Link::new(conditions, seed);
        let start = Instant::now();
        for number in 0..count {
            link.offer(start + MS * u32::from(number), &number.to_be_bytes());
        }
        let all = start + MS * 100_000;
        std::iter::from_fn(|| link.take_due(all))
            .map(|datagram| u16::from_be_bytes(datagram.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_good_link_carries_everything_in_order_after_its_delay() {
        let conditions = Conditions { delay: 50 * MS, ..Conditions::default() };
        assert_eq!(arrivals(conditions, 1, 100), (0..100).collect::<Vec<_>>());
        let mut link = Link::new(conditions, 1);
        let now = Instant::now();
        link.offer(now, b"x");
        assert_eq!(link.next_due(), Some(now + 50 * MS));
        assert_eq!(link.take_due(now + 49 * MS), None);
        assert_eq!(link.take_due(now + 50 * MS), Some(b"x".to_vec()));
        assert_eq!(link.next_due(), None);
    }

    #[test]
    fn jitter_reorders_and_loses_nothing() {
        let conditions = Conditions { jitter: 5 * MS, ..Conditions::default() };
        let arrived = arrivals(conditions, 1, 1000);
        assert!(arrived.windows(2).any(|pair| pair[0] > pair[1]));
        let mut sorted = arrived;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn loss_and_repetition_are_about_what_was_asked_for() {
        let lossy = Conditions { loss: 0.1, ..Conditions::default() };
        let count = arrivals(lossy, 1, 10_000).len();
        assert!((8_800..9_200).contains(&count), "{count}");
        let repeating = Conditions { repeat: 0.1, ..Conditions::default() };
        let count = arrivals(repeating, 1, 10_000).len();
        assert!((10_800..11_200).contains(&count), "{count}");
    }

    #[test]
    fn a_seed_decides_everything() {
        let conditions = Conditions { jitter: 5 * MS, loss: 0.1, repeat: 0.1, delay: MS };
        assert_eq!(arrivals(conditions, 7, 1000), arrivals(conditions, 7, 1000));
        assert_ne!(arrivals(conditions, 7, 1000), arrivals(conditions, 8, 1000));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut link = Link::new(Conditions { delay: MS, ..Conditions::default() }, 1);
        let now = Instant::now();
        let datagram = vec![0; 1 << 20];
        for _ in 0..100 {
            link.offer(now, &datagram);
        }
        let arrived = std::iter::from_fn(|| link.take_due(now + MS)).count();
        assert_eq!(arrived, BYTES_MAX >> 20);
    }
}
