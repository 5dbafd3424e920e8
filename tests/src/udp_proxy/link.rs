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
    /// The narrowest place on the way.
    pub bottleneck: Option<Bottleneck>,
    /// Larger datagrams are lost, as where the path's MTU is smaller.
    pub max_size: Option<usize>,
}

/// A place that datagrams leave one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Bottleneck {
    /// How fast.
    pub bytes_per_second: u32,
    /// What may wait there; more is lost.
    pub queue: usize,
}

impl Bottleneck {
    fn takes(self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second))
    }
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
    /// The bottleneck is busy until then.
    busy: Option<Instant>,
}

impl Link {
    /// A link whose chances are decided by `seed`.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        Self { conditions, chance, under_way: BTreeMap::new(), bytes: 0, count: 0, busy: None }
    }

    /// A datagram is sent.
    pub fn offer(&mut self, now: Instant, datagram: &[u8]) {
        let Conditions { loss, repeat, max_size, .. } = self.conditions;
        if max_size.is_some_and(|max| datagram.len() > max) {
            return;
        }
        // Drawn for every datagram, so that what happens to one does not shift the others' chances.
        let (lost, repeated) = (self.chance.random_bool(loss), self.chance.random_bool(repeat));
        let Some(left) = self.passed(now, datagram.len()) else { return };
        let arrivals = [self.arrival(left), self.arrival(left)];
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

    /// When a datagram that is sent now has passed the bottleneck.
    fn passed(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(bottleneck) = self.conditions.bottleneck else { return Some(now) };
        let begin = self.busy.map_or(now, |busy| busy.max(now));
        if begin - now > bottleneck.takes(bottleneck.queue) {
            return None;
        }
        let end = begin + bottleneck.takes(bytes);
        self.busy = Some(end);
        Some(end)
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
        let jitter = 5 * MS;
        let conditions =
            Conditions { jitter, loss: 0.1, repeat: 0.1, delay: MS, ..Conditions::default() };
        assert_eq!(arrivals(conditions, 7, 1000), arrivals(conditions, 7, 1000));
        assert_ne!(arrivals(conditions, 7, 1000), arrivals(conditions, 8, 1000));
    }

    #[test]
    fn a_bottleneck_passes_what_it_can_and_loses_what_finds_no_room() {
        // Two bytes each millisecond: one numbered datagram.
        let bottleneck = Bottleneck { bytes_per_second: 2000, queue: 20 };
        let conditions = Conditions { bottleneck: Some(bottleneck), ..Conditions::default() };
        assert_eq!(arrivals(conditions, 1, 100), (0..100).collect::<Vec<_>>());
        let mut link = Link::new(conditions, 1);
        let now = Instant::now();
        (0..100_u16).for_each(|number| link.offer(now, &number.to_be_bytes()));
        let arrived: Vec<_> = (0..=20).map(|n| link.take_due(now + n * MS).is_some()).collect();
        let expected: Vec<_> = (0..=20).map(|n| (1..=11).contains(&n)).collect();
        assert_eq!(arrived, expected, "one each millisecond: one under way and ten that wait");
    }

    #[test]
    fn what_is_too_large_for_the_path_is_lost() {
        let mut link = Link::new(Conditions { max_size: Some(2), ..Conditions::default() }, 1);
        let now = Instant::now();
        link.offer(now, b"abc");
        link.offer(now, b"ab");
        assert_eq!(link.take_due(now), Some(b"ab".to_vec()));
        assert_eq!(link.take_due(now), None);
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
