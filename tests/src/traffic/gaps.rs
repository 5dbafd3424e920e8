//! Silences: how long nothing came.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Significant digits of what is kept of each gap: two are enough to judge by, and cost 10 KiB where three cost 100.
const DIGITS: u8 = 2;

/// Longer gaps count as this one, but for the longest.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When something came last, and how long nothing came between any two.
#[derive(Debug, Clone)]
pub struct Gaps {
    last: Option<Instant>,
    longest: Duration,
    /// In microseconds.
    all: Histogram<u32>,
}

impl Gaps {
    /// Nothing has come.
    ///
    /// # Panics
    /// Never: the digits are a number that histograms take.
    #[must_use]
    pub fn new() -> Self {
        let all = Histogram::new(DIGITS).expect("1 to 5 digits");
        Self { last: None, longest: Duration::ZERO, all }
    }

    /// Something came. The time before the first is no gap.
    pub fn came(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.passed(now.saturating_duration_since(last));
        }
    }

    /// There was a gap like this.
    ///
    /// # Panics
    /// Never: histograms grow.
    pub fn passed(&mut self, gap: Duration) {
        self.longest = self.longest.max(gap);
        let gap = u64::try_from(gap.min(LONGEST).as_micros()).unwrap_or_default();
        // It grows as it must; saturating it would keep it as small as it began.
        self.all.record(gap).expect("room for a day");
    }

    /// The longest time between two.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that this share of all gaps does not exceed, from 0 to 1; zero if there was none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        // A bucket's end may lie above all that is in it.
        Duration::from_micros(self.all.value_at_quantile(share)).min(self.longest)
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::AddAssign<&Self> for Gaps {
    /// Takes the other's gaps over. What came last is not: between the two there was no gap.
    fn add_assign(&mut self, other: &Self) {
        self.longest = self.longest.max(other.longest);
        // Histograms that resize themselves take whatever another one holds.
        self.all.add(&other.all).expect("room for what another histogram holds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_time_before_the_first_is_no_gap_and_the_longest_is_exact() {
        let start = Instant::now();
        let mut gaps = Gaps::new();
        for at in [5000, 5010, 5020, 5333] {
            gaps.came(start + MS * at);
        }
        assert_eq!(gaps.longest(), 313 * MS);
        assert_eq!(gaps.quantile(1.0), 313 * MS);
        let middle = gaps.quantile(0.5);
        assert!((10 * MS..=10 * MS + MS / 5).contains(&middle), "{middle:?}");
    }

    #[test]
    fn sums_have_the_gaps_of_both() {
        let (mut one, mut other) = (Gaps::new(), Gaps::new());
        (0..99).for_each(|_| one.passed(MS));
        other.passed(Duration::from_secs(3600));
        one += &other;
        assert_eq!(one.longest(), Duration::from_secs(3600));
        assert!(one.quantile(0.98) < 2 * MS);
        assert_eq!(one.quantile(1.0), Duration::from_secs(3600));
    }
}
