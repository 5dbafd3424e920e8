//! A token bucket: so much may pass in a second, and after a second of silence all of it at once.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A bucket counts in parts of a unit: what comes back in a nanosecond at a rate of one is one part, so nothing is rounded.
const PARTS: u64 = 1_000_000_000;

/// So much in a second.
pub type Rate = NonZeroU64;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    rate: Rate,
    /// What may pass at `at`, in parts.
    parts: u64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub const fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, parts: capacity(rate), at: now }
    }

    /// Whether so much may pass now.
    pub fn has(&mut self, cost: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let come = elapsed.saturating_mul(self.rate.get());
        self.parts = self.parts.saturating_add(come).min(capacity(self.rate));
        self.at = self.at.max(now);
        cost.saturating_mul(PARTS) <= self.parts
    }

    /// Takes so much, if it may pass now. Whether it may.
    pub fn take(&mut self, cost: u64, now: Instant) -> bool {
        let has = self.has(cost, now);
        if has {
            self.parts -= cost.saturating_mul(PARTS);
        }
        has
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.has(self.rate.get(), now)
    }

    /// How long from `now` until so much may pass. What never may is waited for as if it were all that may.
    pub fn wait(&mut self, cost: u64, now: Instant) -> Duration {
        self.has(0, now);
        let cost = cost.saturating_mul(PARTS).min(capacity(self.rate));
        Duration::from_nanos(cost.saturating_sub(self.parts).div_ceil(self.rate.get()))
    }

    /// From now on this is the rate. What has passed counts on.
    pub fn set_rate(&mut self, rate: Rate, now: Instant) {
        let was_full = self.is_full(now);
        self.rate = rate;
        self.parts = if was_full { capacity(rate) } else { self.parts.min(capacity(rate)) };
    }
}

const fn capacity(rate: Rate) -> u64 {
    rate.get().saturating_mul(PARTS)
}

#[cfg(test)]
mod tests;
