//! What happens to all peers together, counted as it happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_client::FailureClass;

use crate::traffic::Gaps;

/// Events are counted in steps of so long.
const STEP: Duration = Duration::from_millis(100);

/// How often something happened, and how fast at worst.
#[derive(Debug, Clone)]
pub struct Rate {
    started: Instant,
    steps: Vec<u32>,
}

impl Rate {
    /// It has not happened yet.
    #[must_use]
    pub const fn new(started: Instant) -> Self {
        Self { started, steps: Vec::new() }
    }

    /// It happened.
    pub fn came(&mut self, now: Instant) {
        let step = now.saturating_duration_since(self.started).as_millis() / STEP.as_millis();
        let step = usize::try_from(step).unwrap_or(usize::MAX - 1);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, 0);
        }
        self.steps[step] += 1;
    }

    /// How often, in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps.iter().map(|count| u64::from(*count)).sum()
    }

    /// Per second, in the worst window of this length.
    #[must_use]
    pub fn peak(&self, window: Duration) -> f64 {
        let width = (window.as_millis() / STEP.as_millis()).max(1) as usize;
        let most = (0..self.steps.len())
            .map(|end| self.steps[(end + 1).saturating_sub(width)..=end].iter().sum::<u32>())
            .max();
        f64::from(most.unwrap_or_default()) / (width as f64 * STEP.as_secs_f64())
    }
}

/// What happened to peers.
#[derive(Debug)]
pub struct Counted {
    /// First attachments.
    pub attaches: Rate,
    /// How long they took.
    pub attach_times: Gaps,
    /// Attachments of peers that were attached before: moves, and returns after a loss.
    pub returns: Rate,
    /// Of those, the moves without a gap.
    pub handovers: u64,
    /// For how long peers were without attachment, after a loss.
    pub away: Gaps,
    /// Addresses that were changed.
    pub rebinds: u64,
    /// Peers that left, and were replaced.
    pub left: u64,
    /// Peers that vanished without a word.
    pub ghosts: u64,
    /// Datagrams that clients dropped themselves, before they were sent or after they came.
    pub dropped_by_clients: u64,
    /// What failed, by class. Attempts that were repeated with success are among them.
    pub failures: BTreeMap<&'static str, u64>,
    /// The last of them, for people.
    pub last_problem: Option<String>,
}

/// Counts for all tasks of a load.
#[derive(Debug)]
pub struct Meters(Mutex<Counted>);

impl Meters {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Counted {
            attaches: Rate::new(now),
            attach_times: Gaps::new(),
            returns: Rate::new(now),
            handovers: 0,
            away: Gaps::new(),
            rebinds: 0,
            left: 0,
            ghosts: 0,
            dropped_by_clients: 0,
            failures: BTreeMap::new(),
            last_problem: None,
        }))
    }

    /// What was counted so far, to be read or added to.
    pub fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something failed.
    pub fn failed(&self, class: FailureClass, problem: String) {
        let mut counted = self.lock();
        *counted.failures.entry(class.name()).or_default() += 1;
        counted.last_problem = Some(problem);
    }

    /// Everything, once nobody counts any more.
    #[must_use]
    pub fn into_inner(self) -> Counted {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_window_is_found_wherever_it_begins() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        // One each 100 ms for 10 s, and twenty more around the end of the fourth second.
        (0..100).for_each(|n| rate.came(start + STEP * n));
        (0..20).for_each(|n| rate.came(start + Duration::from_millis(3_900 + n * 10)));
        assert_eq!(rate.total(), 120);
        assert!((rate.peak(Duration::from_secs(1)) - 30.0).abs() < 1e-9);
        assert!((rate.peak(Duration::from_secs(5)) - 14.0).abs() < 1e-9);
        assert!(Rate::new(start).peak(Duration::from_secs(1)).abs() < 1e-9);
    }
}
