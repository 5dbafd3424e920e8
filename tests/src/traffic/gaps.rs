//! The longest silence.

use std::time::{Duration, Instant};

/// When something came last, and how long nothing came at worst.
#[derive(Debug, Clone, Copy)]
pub struct Gaps {
    last: Option<Instant>,
    longest: Duration,
}

impl Gaps {
    /// Nothing has come.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, longest: Duration::ZERO }
    }

    /// Something came. The time before the first is no gap.
    pub fn came(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now.saturating_duration_since(last));
        }
    }

    /// The longest time between two.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}
