//! A bounded queue that senders share: each in turn, by bytes; and when it is full the oldest goes of whoever has most in it. So
//! nobody is starved by another that sends faster.
//!
//! Whatever is done takes the same time, however many senders there are: lanes are linked in the order of their turns, and
//! again by how much is in them. What a queue holds is counted in [`UNIT`]s, of which the smallest datagram is one: that bounds
//! bytes and count.

use std::collections::HashMap;
use std::hash::Hash;

use slab::Slab;

/// What is counted as one, in bytes.
const UNIT: usize = 256;

/// Units that a queue may hold: 256 KiB. More only adds delay.
const CAPACITY: u16 = 1024;

/// Units that a queue keeps when all of them together hold too much: some of the largest datagrams.
const FLOOR: u16 = 16;

/// What an entry costs beyond its bytes: its place here, and what the allocator adds.
const OVERHEAD: usize = 48;

/// What a lane may send in its turn: a datagram of the largest size.
const QUANTUM: u16 = 6;

/// So many places are kept when it is empty.
const KEPT: usize = 64;

/// A place in one of the slabs, which have [`CAPACITY`] at most.
type Index = u16;

const NONE: Index = Index::MAX;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FairQueue<K, T> {
    lanes: Slab<Lane<K>>,
    entries: Slab<Entry<T>>,
    by_key: HashMap<K, Index>,
    /// Whose turn it is: one of the ring of lanes.
    turn: Index,
    /// The first of the lanes that have so many units.
    depths: Vec<Index>,
    /// The most units that any lane has.
    deepest: Index,
    units: u16,
}

/// What waits of one sender. There are only lanes in which something waits.
#[derive(Debug)]
struct Lane<K> {
    key: K,
    first: Index,
    last: Index,
    units: u16,
    /// What it may still send in this turn.
    credit: u16,
    ring: Links,
    /// Among the lanes with as many units.
    depth: Links,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: Index,
    next: Index,
}

const UNLINKED: Links = Links { previous: NONE, next: NONE };

#[derive(Debug)]
struct Entry<T> {
    item: T,
    units: u16,
    next: Index,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            lanes: Slab::new(),
            entries: Slab::new(),
            by_key: HashMap::new(),
            turn: NONE,
            depths: Vec::new(),
            deepest: 0,
            units: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.units == 0
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is in it, in bytes as they are counted here.
    pub(super) fn bytes(&self) -> u32 {
        u32::from(self.units) * UNIT as u32
    }

    /// Drops what is too much until there are no more than so many bytes in it, or [`FLOOR`] units. Gives how many were dropped.
    pub(super) fn trim(&mut self, bytes: u64) -> usize {
        let before = self.entries.len();
        let most = u16::try_from(bytes / UNIT as u64).unwrap_or(u16::MAX).max(FLOOR);
        while self.units > most && self.drop_one().is_some() {}
        before - self.entries.len()
    }

    /// Drops all that is in a lane. Gives how many were dropped.
    pub(super) fn forget(&mut self, key: K) -> usize {
        let before = self.entries.len();
        while let Some(lane) = self.by_key.get(&key) {
            self.take_first(*lane);
        }
        if self.is_empty() {
            self.shrink();
        }
        before - self.entries.len()
    }

    /// Puts in an item of so many bytes. Gives how many others were dropped for it; itself, if it is larger than the queue.
    pub(super) fn push(&mut self, key: K, bytes: usize, item: T) -> usize {
        let units = units(bytes);
        if units > CAPACITY {
            return 1;
        }
        let mut dropped = 0;
        while self.units + units > CAPACITY && self.drop_one().is_some() {
            dropped += 1;
        }
        let lane = match self.by_key.get(&key) {
            Some(lane) => *lane,
            None => self.add_lane(key),
        };
        let entry = place(self.entries.insert(Entry { item, units, next: NONE }));
        let of = &mut self.lanes[usize::from(lane)];
        let deeper = of.units + units;
        match std::mem::replace(&mut of.last, entry) {
            NONE => of.first = entry,
            last => self.entries[usize::from(last)].next = entry,
        }
        self.units += units;
        self.set_depth(lane, deeper);
        dropped
    }

    /// Takes out the next one.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.turn == NONE {
            return None;
        }
        let lane = self.turn;
        let (item, units) = self.take_first(lane);
        if self.is_empty() {
            self.shrink();
        } else if self.turn == lane {
            let first = self.lanes[usize::from(lane)].first;
            let wanted = self.entries[usize::from(first)].units;
            let lane = &mut self.lanes[usize::from(lane)];
            lane.credit = lane.credit.saturating_sub(units);
            if lane.credit < wanted {
                lane.credit += QUANTUM;
                self.turn = lane.ring.next;
            }
        }
        Some(item)
    }

    /// Drops the oldest of the lane that has most.
    fn drop_one(&mut self) -> Option<T> {
        let lane = *self.depths.get(usize::from(self.deepest))?;
        (lane != NONE).then(|| self.take_first(lane).0)
    }

    /// Takes the first of a lane, and its units. The lane goes with its last one.
    fn take_first(&mut self, lane: Index) -> (T, u16) {
        let entry = self.lanes[usize::from(lane)].first;
        let Entry { item, units, next } = self.entries.remove(usize::from(entry));
        self.units -= units;
        let shallower = self.lanes[usize::from(lane)].units - units;
        self.set_depth(lane, shallower);
        if next == NONE {
            self.leave_ring(lane);
            let Lane { key, .. } = self.lanes.remove(usize::from(lane));
            self.by_key.remove(&key);
        } else {
            self.lanes[usize::from(lane)].first = next;
        }
        (item, units)
    }

    /// An empty lane, whose turn is last.
    fn add_lane(&mut self, key: K) -> Index {
        let (first, last, credit) = (NONE, NONE, QUANTUM);
        let (ring, depth) = (UNLINKED, UNLINKED);
        let lane =
            place(self.lanes.insert(Lane { key, first, last, units: 0, credit, ring, depth }));
        if self.turn == NONE {
            self.turn = lane;
            self.lanes[usize::from(lane)].ring = Links { previous: lane, next: lane };
        } else {
            let next = self.turn;
            let previous =
                std::mem::replace(&mut self.lanes[usize::from(next)].ring.previous, lane);
            self.lanes[usize::from(previous)].ring.next = lane;
            self.lanes[usize::from(lane)].ring = Links { previous, next };
        }
        self.by_key.insert(key, lane);
        lane
    }

    fn leave_ring(&mut self, lane: Index) {
        let Links { previous, next } = self.lanes[usize::from(lane)].ring;
        if next == lane {
            self.turn = NONE;
            return;
        }
        self.lanes[usize::from(previous)].ring.next = next;
        self.lanes[usize::from(next)].ring.previous = previous;
        if self.turn == lane {
            self.turn = next;
        }
    }

    /// The lane has so many units now.
    fn set_depth(&mut self, lane: Index, units: u16) {
        if self.depths.len() <= usize::from(units) {
            self.depths.resize(usize::from(units) + 1, NONE);
        }
        let Lane { units: before, depth: Links { previous, next }, .. } =
            self.lanes[usize::from(lane)];
        if before > 0 {
            match previous {
                NONE => self.depths[usize::from(before)] = next,
                previous => self.lanes[usize::from(previous)].depth.next = next,
            }
            if next != NONE {
                self.lanes[usize::from(next)].depth.previous = previous;
            }
        }
        self.lanes[usize::from(lane)].units = units;
        if units > 0 {
            let next = std::mem::replace(&mut self.depths[usize::from(units)], lane);
            self.lanes[usize::from(lane)].depth = Links { previous: NONE, next };
            if next != NONE {
                self.lanes[usize::from(next)].depth.previous = lane;
            }
        }
        self.deepest = self.deepest.max(units);
        // Not far: what left this depth is above the next by no more than what was taken from it.
        while self.deepest > 0 && self.depths[usize::from(self.deepest)] == NONE {
            self.deepest -= 1;
        }
    }

    /// It is empty, and keeps little of what it held.
    fn shrink(&mut self) {
        if self.entries.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// What so many bytes count as.
fn units(bytes: usize) -> u16 {
    u16::try_from(bytes.saturating_add(OVERHEAD).div_ceil(UNIT)).unwrap_or(u16::MAX)
}

/// Of a slab that has no more places than an index can tell.
fn place(key: usize) -> Index {
    Index::try_from(key).unwrap_or(NONE)
}

#[cfg(test)]
mod tests;
