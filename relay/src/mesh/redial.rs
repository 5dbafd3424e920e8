//! How long an address is dialed, and how often.

use std::time::{Duration, Instant};

/// The first pause between failed dials; it doubles.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause while there is hope.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Hope lasts so long. An address that only someone else named is forgotten then, until it is named again.
const HOPE: Duration = Duration::from_secs(30);

/// The longest pause after that.
const RARELY: Duration = Duration::from_secs(30);

/// A relay that said goodbye may be back at the same address: its container was restarted. After that it is forgotten.
const AFTER_GOODBYE: Duration = Duration::from_secs(600);

/// When to dial one address again. Seeds, and who was a sibling once, are never forgotten unless they said goodbye: two halves
/// of a pool that could not reach each other for a while must find each other again.
#[derive(Debug)]
pub(super) struct Redial {
    lasting: bool,
    failing_since: Instant,
    backoff: Duration,
}

impl Redial {
    pub(super) const fn new(seed: bool, now: Instant) -> Self {
        Self { lasting: seed, failing_since: now, backoff: BACKOFF }
    }

    /// There is a link.
    pub(super) const fn linked(&mut self, now: Instant) {
        *self = Self::new(true, now);
    }

    /// A dial failed, or a link ended. Gives the pause before the next dial; `None` if there is none.
    pub(super) fn pause(&mut self, said_goodbye: bool, now: Instant) -> Option<Duration> {
        let failing = now.saturating_duration_since(self.failing_since);
        let forgotten = match (self.lasting, said_goodbye) {
            (false, _) => failing >= HOPE,
            (true, true) => failing >= AFTER_GOODBYE,
            (true, false) => false,
        };
        if forgotten {
            return None;
        }
        let pause = self.backoff;
        let longest = if failing < HOPE { MAX_BACKOFF } else { RARELY };
        self.backoff = (self.backoff * 2).min(longest);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long an address is dialed, in seconds, and with which last pause.
    fn dialed(mut redial: Redial, said_goodbye: bool, start: Instant) -> (u64, Duration) {
        let (mut now, mut last) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(3600)
            && let Some(pause) = redial.pause(said_goodbye, now)
        {
            (now, last) = (now + pause, pause);
        }
        ((now - start).as_secs(), last)
    }

    #[test]
    fn who_was_a_sibling_is_dialed_for_ever_and_hearsay_for_half_a_minute() {
        let now = Instant::now();
        let (seconds, pause) = dialed(Redial::new(false, now), false, now);
        assert!((30..=33).contains(&seconds), "{seconds} s");
        assert_eq!(pause, MAX_BACKOFF);

        let (seconds, pause) = dialed(Redial::new(true, now), false, now);
        assert!(seconds >= 3600, "a seed, forgotten after {seconds} s");
        assert_eq!(pause, RARELY);

        let mut sibling = Redial::new(false, now);
        sibling.linked(now);
        let (seconds, _) = dialed(sibling, false, now);
        assert!(seconds >= 3600, "a sibling, forgotten after {seconds} s");
    }

    #[test]
    fn who_said_goodbye_is_forgotten_but_not_at_once() {
        let now = Instant::now();
        let (seconds, _) = dialed(Redial::new(true, now), true, now);
        assert!((600..=640).contains(&seconds), "{seconds} s");
    }
}
