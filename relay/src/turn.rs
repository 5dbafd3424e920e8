//! How many datagrams of one session are taken, or handed over to it, until all others had their turn. It is told the time.
//!
//! A packet may hold hundreds of the smallest datagrams. Whoever sends them without end has as many turns as everybody, and what
//! comes faster than its turns is dropped by quinn, the oldest first: that costs next to nothing. Of those who keep up, so that
//! every now and then nothing is left, a turn is as long as it takes to go on like that, however long the others took: so who
//! sends less is never behind. The turns of all others are the shortest: if theirs grew, too, a relay that has too much to do
//! would take the more, the longer its rounds are.

use std::time::{Duration, Instant};

use crate::arrivals::BATCH;

/// A session that sends so many in a second keeps up, as long as the relay does.
pub(crate) const PER_SECOND: u32 = 32_000;

/// A turn has so many at least, and at most.
pub(crate) const LEAST: usize = 2 * BATCH;
const MOST: usize = 256;

/// Who had nothing left so lately keeps up, but for a burst or a moment in which the relay was busy.
const LATELY: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    began: Instant,
    left: usize,
    /// When the latest batch of it could be taken, and how long it may be.
    latest: Instant,
    batch: usize,
    /// When there was nothing left.
    emptied: Instant,
}

/// What comes after some datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// The next one of this session.
    Next,
    /// A whole batch was taken: first, those send it to whom it goes.
    Receivers,
    /// The turn is over: first, all others have theirs.
    Others,
}

impl Turn {
    /// The first one: there is nothing yet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { began: now, left: LEAST, latest: now, batch: BATCH, emptied: now }
    }

    /// So many may be taken at once.
    pub(crate) fn room(&self) -> usize {
        self.left.min(self.batch)
    }

    /// So many were taken.
    pub(crate) const fn took(&mut self, count: usize) -> After {
        self.left = self.left.saturating_sub(count);
        if self.left == 0 {
            After::Others
        } else if count >= BATCH {
            After::Receivers
        } else {
            After::Next
        }
    }

    /// Receivers have sent what they had.
    pub(crate) fn go_on(&mut self, now: Instant) {
        self.batch = self.due(self.latest, now, BATCH);
        self.latest = now;
    }

    /// The next one.
    pub(crate) fn next(&self, now: Instant) -> Self {
        let mut next = Self { began: now, left: self.due(self.began, now, LEAST), ..*self };
        next.go_on(now);
        next
    }

    /// The next one, after there was nothing left.
    pub(crate) fn after_none(self, now: Instant) -> Self {
        Self { emptied: now, ..self }.next(now)
    }

    /// Whether there was nothing left lately.
    pub(crate) fn keeps_up(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.emptied) < LATELY
    }

    /// What comes meanwhile of a session that sends [`PER_SECOND`], if it keeps up; or the least.
    fn due(&self, since: Instant, now: Instant, least: usize) -> usize {
        if !self.keeps_up(now) {
            return least;
        }
        let passed = now.saturating_duration_since(since).min(LATELY);
        ((passed.as_secs_f64() * f64::from(PER_SECOND)) as usize).clamp(least, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn length(mut turn: Turn) -> usize {
        (1..).find(|_| turn.took(1) == After::Others).unwrap()
    }

    #[test]
    fn the_turn_of_one_who_keeps_up_is_as_long_as_it_has_waited() {
        let now = Instant::now();
        let turn = Turn::new(now);
        let lengths = [0, 100, 1_000, 2_000, 100_000]
            .map(|waited| length(turn.next(now + Duration::from_micros(waited))));
        assert_eq!(lengths, [LEAST, LEAST, 32, 64, MOST]);
        assert_eq!(length(turn), LEAST);
    }

    #[test]
    fn the_turns_of_one_who_does_not_are_the_shortest_until_nothing_is_left() {
        let mut now = Instant::now();
        let mut turn = Turn::new(now);
        let mut lengths = Vec::new();
        while turn.keeps_up(now) {
            now += 4 * MILLISECOND;
            turn = turn.next(now);
            lengths.push((turn.room(), length(turn)));
        }
        assert_eq!(lengths.pop(), Some((BATCH, LEAST)));
        assert!(lengths.iter().all(|length| *length == (128, 128)), "{lengths:?}");
        assert_eq!(length(turn.next(now + 100 * MILLISECOND)), LEAST);
        assert_eq!(length(turn.after_none(now + 4 * MILLISECOND)), 128);
    }

    #[test]
    fn receivers_send_what_they_have_after_each_batch() {
        let now = Instant::now();
        let mut turn = Turn { left: 2 * BATCH + 2, ..Turn::new(now) };
        let taken: Vec<_> = (0..3).map(|_| (turn.room(), turn.took(turn.room()))).collect();
        let batch = (BATCH, After::Receivers);
        assert_eq!(taken, [batch, batch, (2, After::Others)]);
        assert_eq!(Turn::new(now).took(1), After::Next, "they have sent it already");
    }

    #[test]
    fn a_batch_is_as_long_as_they_took() {
        let now = Instant::now();
        let mut turn = Turn { left: MOST, ..Turn::new(now) };
        let rooms = [(1, 32), (2, 32), (2, BATCH), (6, 128)].map(|(at, room)| {
            turn.go_on(now + at * MILLISECOND);
            (turn.room(), room)
        });
        assert!(rooms.iter().all(|(is, should)| is == should), "{rooms:?}");
    }
}
