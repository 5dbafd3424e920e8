//! How long the record of a session is kept of which nothing is heard.
//!
//! A client that falls silent may be on its way to another network. From the second keep-alive that did not come its session is
//! *suspect*: nothing of it changes, and it has the migration window to come back in. Then, and only then,
//! [`Vigil::evict_unless_migrated_since`] takes it away. (A connection that ends by itself, or that its client or the drain
//! closes, needs no vigil.)

use std::time::{Duration, Instant};

use crate::liveness::Timers;

/// What to think of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is heard.
    Alive,
    /// It was silent for two keep-alives.
    Suspect,
    /// It was, and did not come back in the migration window.
    Gone,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Vigil {
    /// Packets heard when it was looked at last, and when there were more of them than before.
    heard: u64,
    heard_at: Instant,
    suspect_since: Option<Instant>,
}

impl Vigil {
    /// Of a session that was just heard.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { heard: 0, heard_at: now, suspect_since: None }
    }

    /// So many packets of it have been heard by `now`. A look may be late: then a client is suspect late, never early.
    pub fn look(&mut self, timers: &Timers, heard: u64, now: Instant) -> Standing {
        if heard != self.heard {
            (self.heard, self.heard_at, self.suspect_since) = (heard, now, None);
            return Standing::Alive;
        }
        if now.saturating_duration_since(self.heard_at) < timers.suspect() {
            return Standing::Alive;
        }
        let since = *self.suspect_since.get_or_insert(self.heard_at + timers.suspect());
        if self.evict_unless_migrated_since(since, timers.migration_window, now) {
            Standing::Gone
        } else {
            Standing::Suspect
        }
    }

    /// Whether a session that is suspect since then is to be removed: the migration window is over, and it was not heard since,
    /// over any path.
    fn evict_unless_migrated_since(&self, since: Instant, window: Duration, now: Instant) -> bool {
        self.heard_at < since && now.saturating_duration_since(since) >= window
    }

    /// Whether it is suspect.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.suspect_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test starts somewhere; only differences matter"
    )]

    use super::*;

    /// Looks once a second, and writes down the first second of each new standing. `heard` says how many packets were heard
    /// by a second.
    fn story(seconds: u64, heard: impl Fn(u64) -> u64) -> Vec<(u64, Standing)> {
        let start = Instant::now();
        let mut vigil = Vigil::new(start);
        let mut told: Vec<(u64, Standing)> = Vec::new();
        for second in 0..=seconds {
            let standing =
                vigil.look(&Timers::DEFAULT, heard(second), start + Duration::from_secs(second));
            if told.last().is_none_or(|(_, last)| *last != standing) {
                told.push((second, standing));
            }
        }
        told
    }

    #[test]
    fn who_keeps_alive_is_alive() {
        assert_eq!(story(600, |second| second / 12), [(0, Standing::Alive)]);
    }

    #[test]
    fn who_falls_silent_is_suspect_after_two_keep_alives_and_gone_after_the_window() {
        let expected = [(0, Standing::Alive), (24, Standing::Suspect), (54, Standing::Gone)];
        assert_eq!(story(54, |_| 0), expected);
    }

    #[test]
    fn who_comes_back_within_the_window_has_all_of_its_time_again() {
        let told = story(200, |second| u64::from(second >= 53));
        let expected = [
            (0, Standing::Alive),
            (24, Standing::Suspect),
            (53, Standing::Alive),
            (77, Standing::Suspect),
            (107, Standing::Gone),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_look_that_is_late_takes_no_time_away() {
        let start = Instant::now();
        let mut vigil = Vigil::new(start);
        let late = start + Duration::from_secs(53);
        assert_eq!(vigil.look(&Timers::DEFAULT, 0, late), Standing::Suspect);
        assert_eq!(
            vigil.look(&Timers::DEFAULT, 1, late + Duration::from_millis(1)),
            Standing::Alive
        );
        assert!(!vigil.is_suspect());
    }
}
