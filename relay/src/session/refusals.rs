//! The senders that a session refused lately: of whom its client was told that they knock, and whose relays were told.
//!
//! Whatever strangers do, this is bounded: in room, and in what is said because of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use baton_protocol::bucket::{Bucket, Rate};
use baton_protocol::id::PeerId;

use crate::rates::{Table, Throughput};

/// Senders of whom it is remembered that they knocked. When there are more, the one that did so longest ago may do so again.
const MAX_KNOCKED: usize = 256;

/// How many knocks a client hears in a second.
const KNOCKS: Rate = match Rate::new(16) {
    Some(rate) => rate,
    None => Rate::MIN,
};

/// Senders whose relays are told, each for itself, once a second. The others share one turn.
const MAX_TOLD: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Refusals {
    knocked: HashMap<PeerId, u64>,
    /// The same by the order in which they knocked.
    order: BTreeMap<u64, PeerId>,
    next: u64,
    knocks: Bucket,
    told: Table<PeerId>,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        let once = Throughput { datagrams: Rate::new(1), bytes: None };
        Self {
            knocked: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            knocks: Bucket::new(KNOCKS, now),
            told: Table::new(once, MAX_TOLD, now),
        }
    }

    /// Whether the client is to be told that this sender knocks. It is remembered then.
    pub(super) fn knocks(&mut self, sender: PeerId, now: Instant) -> bool {
        if self.knocked.contains_key(&sender) || !self.knocks.take(1, now) {
            return false;
        }
        if self.knocked.len() >= MAX_KNOCKED
            && let Some((_, longest_ago)) = self.order.pop_first()
        {
            self.knocked.remove(&longest_ago);
        }
        self.knocked.insert(sender, self.next);
        self.order.insert(self.next, sender);
        self.next += 1;
        true
    }

    /// The client has answered, or was not told: this sender may knock again.
    pub(super) fn answered(&mut self, sender: &PeerId) {
        if let Some(place) = self.knocked.remove(sender) {
            self.order.remove(&place);
        }
    }

    /// Another mode holds: whoever knocks now does so for the first time.
    pub(super) fn forget_knocks(&mut self) {
        self.knocked.clear();
        self.order.clear();
    }

    /// Whether this sender's relay is to be told now that it was refused.
    pub(super) fn may_be_told(&mut self, sender: PeerId, now: Instant) -> bool {
        self.told.take(sender, 0, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(number: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    #[test]
    fn a_sender_knocks_once_until_it_is_answered() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        assert_eq!([1, 1, 2, 1].map(|n| refusals.knocks(peer(n), now)), [true, false, true, false]);
        refusals.answered(&peer(1));
        refusals.answered(&peer(9));
        assert_eq!([1, 2].map(|n| refusals.knocks(peer(n), now)), [true, false]);
        refusals.forget_knocks();
        assert_eq!([1, 2].map(|n| refusals.knocks(peer(n), now)), [true, true]);
    }

    #[test]
    fn however_many_knock_few_are_heard_and_few_remembered() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        let heard = |refusals: &mut Refusals, from: usize, now| {
            (from..from + 10_000).filter(|n| refusals.knocks(peer(*n), now)).count()
        };
        assert_eq!(heard(&mut refusals, 0, now), 16);
        for second in 1..100_u32 {
            let heard = heard(&mut refusals, 10_000 * second as usize, now + SECOND * second);
            assert_eq!(heard, 16);
            assert!(
                refusals.knocked.len() <= 256 && refusals.order.len() == refusals.knocked.len()
            );
        }
        let later = now + SECOND * 100;
        assert!(refusals.knocks(peer(0), later), "it was forgotten, and is heard again");
        assert!(!refusals.knocks(peer(990_000), later), "who knocked last is remembered");
    }

    #[test]
    fn a_refusal_is_told_once_a_second_and_to_few() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        let told = |refusals: &mut Refusals, n, now| refusals.may_be_told(peer(n), now);
        assert!(told(&mut refusals, 1, now) && !told(&mut refusals, 1, now));
        assert!(told(&mut refusals, 1, now + SECOND));
        let all = (2..10_000).filter(|n| told(&mut refusals, *n, now + SECOND)).count();
        assert_eq!(all, MAX_TOLD - 1 + 1, "each of those with room, and one of the others");
    }
}
