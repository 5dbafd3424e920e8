//! How many datagrams of one session are taken until all others had their turn. It is told the time.
//!
//! A packet may hold hundreds of the smallest datagrams. Whoever sends them without end has as many turns as everybody, and what
//! comes faster than its turns is dropped by quinn, the oldest first: that costs next to nothing. A turn is as long as it takes to
//! keep up with what an honest session sends, however long the others took: so who sends less is never behind.

use std::time::{Duration, Instant};

use crate::arrivals::BATCH;

/// A session that sends so many in a second keeps up, as long as the relay does.
const PER_SECOND: u32 = 32_000;

/// A turn has so many at least, and at most.
const LEAST: usize = 2 * BATCH;
const MOST: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    left: usize,
}

/// What comes after some datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// The next one of this session.
    Next,
    /// A whole batch was taken: first, those send it to whom it goes.
    Receivers,
    /// The turn is over: first, all others have theirs.
    Others,
}

impl Turn {
    /// The first one.
    pub(super) const fn new(now: Instant) -> Self {
        Self { began: now, left: LEAST }
    }

    /// So many may be taken at once.
    pub(super) fn room(&self) -> usize {
        self.left.min(BATCH)
    }

    /// So many were taken.
    pub(super) const fn took(&mut self, count: usize) -> After {
        self.left = self.left.saturating_sub(count);
        if self.left == 0 {
            After::Others
        } else if count >= BATCH {
            After::Receivers
        } else {
            After::Next
        }
    }

    /// The next one.
    pub(super) fn next(&self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.began).min(Duration::from_secs(1));
        let due = passed.as_secs_f64() * f64::from(PER_SECOND);
        Self { began: now, left: (due as usize).clamp(LEAST, MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(mut turn: Turn) -> usize {
        (1..).find(|_| turn.took(1) == After::Others).unwrap()
    }

    #[test]
    fn a_turn_is_as_long_as_its_session_has_waited() {
        let now = Instant::now();
        let turn = Turn::new(now);
        let lengths = [0, 100, 1_000, 2_000, 100_000]
            .map(|waited| length(turn.next(now + Duration::from_micros(waited))));
        assert_eq!(lengths, [LEAST, LEAST, 32, 64, MOST]);
        assert_eq!(length(turn), LEAST);
    }

    #[test]
    fn receivers_send_what_they_have_after_each_batch() {
        let now = Instant::now();
        let mut turn = Turn::new(now).next(now + Duration::from_millis(1));
        let taken: Vec<_> = (0..4).map(|_| (turn.room(), turn.took(turn.room()))).collect();
        let batch = (BATCH, After::Receivers);
        assert_eq!(taken, [batch, batch, batch, (2, After::Others)]);
        assert_eq!(Turn::new(now).took(1), After::Next, "they have sent it already");
    }
}
