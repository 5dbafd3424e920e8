use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A sender, and a number that grows.
type Item = (u8, u32);

impl FairQueue<u8, Item> {
    /// Every link leads back, every sum is right, and nothing is anywhere twice.
    fn check(&self) {
        let mut lanes = 0;
        let (mut units, mut entries) = (0, 0);
        let mut lane = self.turn;
        while lane != NONE {
            let Lane { key, first, last, units: said, ring, .. } = &self.lanes[usize::from(lane)];
            assert_eq!(self.by_key[key], lane);
            assert_eq!(self.lanes[usize::from(ring.next)].ring.previous, lane);
            let (mut held, mut entry) = (0, *first);
            loop {
                let Entry { item, units, next } = &self.entries[usize::from(entry)];
                assert_eq!(item.0, *key);
                (held, entries) = (held + units, entries + 1);
                if *next == NONE {
                    break;
                }
                entry = *next;
            }
            assert_eq!((entry, held), (*last, *said));
            (lanes, units) = (lanes + 1, units + held);
            lane = if ring.next == self.turn { NONE } else { ring.next };
        }
        assert_eq!((units, self.by_key.len()), (self.units, lanes));
        assert_eq!((self.lanes.len(), self.entries.len()), (lanes, entries));
        assert!(units <= CAPACITY);
        let (mut seen, mut deepest) = (0, 0);
        for (depth, first) in self.depths.iter().enumerate() {
            let (mut previous, mut lane) = (NONE, *first);
            while lane != NONE {
                let Lane { units, depth: links, .. } = &self.lanes[usize::from(lane)];
                assert_eq!((usize::from(*units), links.previous), (depth, previous));
                (seen, deepest) = (seen + 1, *units);
                (previous, lane) = (lane, links.next);
            }
        }
        assert_eq!((seen, deepest), (lanes, self.deepest));
    }
}

proptest! {
    #[test]
    fn each_senders_own_come_in_order_and_none_is_lost_without_being_counted(
        steps in vec((0_u8..12, 0_usize..1400, 0_u8..5), 0..3000)
    ) {
        let mut queue = FairQueue::default();
        let (mut pushed, mut popped, mut dropped) = (0_usize, 0_usize, 0_usize);
        let mut last = BTreeMap::new();
        let mut pop = |queue: &mut FairQueue<u8, Item>| {
            let item = queue.pop();
            if let Some((key, number)) = item {
                assert!(last.insert(key, number).is_none_or(|before| before < number));
            }
            usize::from(item.is_some())
        };
        for (number, (key, bytes, take)) in (0..).zip(steps) {
            // One sends as much as half of the others together.
            let key = key.saturating_sub(5);
            pushed += 1;
            dropped += queue.push(key, bytes, (key, number));
            queue.check();
            if take == 0 {
                popped += pop(&mut queue);
                queue.check();
            }
            if take == 1 && number % 7 == 0 {
                dropped += queue.forget(key);
                assert!(!queue.by_key.contains_key(&key));
                queue.check();
            }
        }
        while !queue.is_empty() {
            popped += pop(&mut queue);
            queue.check();
        }
        prop_assert_eq!(pushed, popped + dropped);
        prop_assert_eq!(queue.pop(), None);
    }

    #[test]
    fn who_has_no_more_than_its_share_in_it_loses_nothing(
        others in vec((1_u8..100, 0_usize..1400), 2000),
        own in vec(0_usize..200, 1..9),
    ) {
        // A hundred senders: a share is ten units, and one of the slow one's is one.
        let mut queue = FairQueue::default();
        for (number, bytes) in (0..).zip(&own) {
            queue.push(0, *bytes, (0, number));
        }
        for (key, bytes) in others {
            queue.push(key, bytes, (key, 0));
        }
        queue.check();
        let came = std::iter::from_fn(|| queue.pop()).filter(|(key, _)| *key == 0).count();
        prop_assert_eq!(came, own.len());
    }
}

#[test]
fn the_slow_are_served_in_the_first_round_however_much_a_fast_one_sends() {
    let mut queue = FairQueue::default();
    for number in 0..5000 {
        queue.push(0, 1200, (0, number));
    }
    for slow in 1..100 {
        assert_eq!(queue.push(slow, 1200, (slow, 0)), 1, "{slow}");
    }
    let first: Vec<_> = (0..100).filter_map(|_| queue.pop()).map(|(key, _)| key).collect();
    assert_eq!(first, (0..100).collect::<Vec<_>>());
    assert_eq!(queue.pop().map(|(key, _)| key), Some(0));
}

#[test]
fn turns_are_counted_in_bytes_not_in_datagrams() {
    let mut queue = FairQueue::default();
    for number in 0..100 {
        queue.push(0, 1200, (0, number));
    }
    for number in 0..500 {
        queue.push(1, 100, (1, number));
    }
    let served = (0..200).filter_map(|_| queue.pop()).filter(|(key, _)| *key == 0).count();
    // Five units against one.
    assert!((30..=37).contains(&served), "{served} large ones of 200");
}

#[test]
fn tiny_ones_are_bounded_by_count_and_large_ones_by_bytes() {
    for (bytes, most) in [(0, 1024), (208, 1024), (209, 512), (1200, 204), (100_000, 2)] {
        let mut queue = FairQueue::default();
        let dropped: usize = (0..3000).map(|number| queue.push(0, bytes, (0, number))).sum();
        assert_eq!(3000 - dropped, most, "of {bytes} bytes");
        assert_eq!(queue.pop(), Some((0, 3000 - u32::try_from(most).unwrap())), "the oldest went");
    }
}

#[test]
fn what_is_larger_than_the_queue_takes_nothing_from_others() {
    let mut queue = FairQueue::default();
    queue.push(0, 10, (0, 1));
    assert_eq!(queue.push(1, 1 << 30, (1, 1)), 1);
    assert_eq!((queue.pop(), queue.pop()), (Some((0, 1)), None));
}

#[test]
fn an_empty_one_keeps_little() {
    let mut queue = FairQueue::default();
    for number in 0..1000 {
        queue.push(u8::try_from(number % 250).unwrap(), 10, (0, number));
    }
    while queue.pop().is_some() {}
    assert!(queue.entries.capacity() <= KEPT && queue.lanes.capacity() <= KEPT);
    assert!(queue.depths.capacity() <= 8 * KEPT && queue.by_key.capacity() <= 2 * KEPT);
}
