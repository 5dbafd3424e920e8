//! Numbered datagrams.

use std::time::Instant;

use super::Gaps;

/// Numbers datagrams as they are sent.
#[derive(Debug, Default)]
pub struct Datagrams {
    sent: u64,
}

/// What came of them at the other end.
#[derive(Debug, Default)]
pub struct Received {
    seen: Vec<bool>,
    count: u64,
    duplicates: u64,
    reordered: u64,
    gaps: Gaps,
}

impl Datagrams {
    /// The next one, of `length` bytes (at least 8).
    pub fn next(&mut self, length: usize) -> Vec<u8> {
        let mut payload = vec![0; length.max(8)];
        payload[..8].copy_from_slice(&self.sent.to_be_bytes());
        self.sent += 1;
        payload
    }

    /// How many there were.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }
}

impl Received {
    /// One came.
    ///
    /// # Panics
    /// When it is none of [`Datagrams`].
    pub fn came(&mut self, payload: &[u8], now: Instant) {
        let number = payload.first_chunk().map(|number| u64::from_be_bytes(*number));
        let number = usize::try_from(number.expect("a number")).expect("a number of this test");
        let is_late = number + 1 < self.seen.len();
        if self.seen.len() <= number {
            self.seen.resize(number + 1, false);
        }
        if std::mem::replace(&mut self.seen[number], true) {
            self.duplicates += 1;
        } else {
            self.count += 1;
            self.reordered += u64::from(is_late);
            self.gaps.came(now);
        }
    }

    /// How many different ones came.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many came again.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many came after one that was sent later.
    #[must_use]
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Between each two.
    #[must_use]
    pub const fn gaps(&self) -> &Gaps {
        &self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_comes_twice_or_late_is_counted() {
        let (mut sent, mut received) = (Datagrams::default(), Received::default());
        let all: Vec<_> = (0..10).map(|_| sent.next(100)).collect();
        for number in [0, 2, 1, 2, 9] {
            received.came(&all[number], Instant::now());
        }
        assert_eq!((sent.sent(), received.count(), received.duplicates()), (10, 4, 1));
        assert_eq!(received.reordered(), 1, "1 came after 2");
    }
}
