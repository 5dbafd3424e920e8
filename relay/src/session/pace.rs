//! How fast a client's control frames are taken, without I/O: it is told the time.
//!
//! A frame of three bytes costs a relay as much as one of three thousand, and its client nothing. Whoever sends frames without end
//! waits: they stay in the stream's window. Nobody is closed for it, and nobody notices who has something to say.

use std::time::{Duration, Instant};

/// What a frame counts as, and each byte, of those that are skipped too.
const FRAME: Duration = Duration::from_micros(200);
const BYTE: Duration = Duration::from_micros(4);

/// So much may come at once: as many routes and watches as a session may have, four times over.
const AT_ONCE: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that came will have been paid for.
    paid: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// So many bytes were read.
    pub(super) fn bytes(&mut self, count: usize, now: Instant) {
        self.spend(BYTE * u32::try_from(count).unwrap_or(u32::MAX), now);
    }

    /// A frame is taken.
    pub(super) fn frame(&mut self, now: Instant) {
        self.spend(FRAME, now);
    }

    /// Until when nothing more is taken; `None` if something may be.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        (self.paid > now + AT_ONCE).then(|| self.paid - AT_ONCE)
    }

    fn spend(&mut self, cost: Duration, now: Instant) {
        self.paid = self.paid.max(now) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a type, its length and a peer id.
    const WATCH: usize = 34;

    fn take(pace: &mut Pace, frames: usize, now: Instant) -> usize {
        let taken = (0..frames).take_while(|_| {
            let may = pace.pause(now).is_none();
            if may {
                pace.bytes(WATCH, now);
                pace.frame(now);
            }
            may
        });
        taken.count()
    }

    #[test]
    fn whatever_a_session_may_have_is_asked_for_at_once_and_what_never_ends_is_slowed_down() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let at_once = take(&mut pace, 100_000, now);
        assert!((4 * (1024 + 256)..7000).contains(&at_once), "{at_once}");
        let pause = pace.pause(now).expect("a pause");
        assert!(pause <= now + 2 * FRAME, "it is short");
        let later = now + Duration::from_secs(10);
        assert_eq!(take(&mut pace, 100_000, later), at_once, "silence saves up no more than that");
    }

    #[test]
    fn what_is_skipped_counts_by_its_bytes() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let passes = (0..1000).take_while(|_| {
            let may = pace.pause(now).is_none();
            pace.bytes(16 * 1024, now);
            may
        });
        assert_eq!(passes.count(), 31);
    }
}
