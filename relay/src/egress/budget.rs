//! What the queues of all sessions hold together. Each is bounded by itself, but there may be thousands of sessions that read too
//! slowly, or not at all.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::IntGauge;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Budget {
    used: IntGauge,
    most: AtomicI64,
}

impl Budget {
    /// So many bytes at most; the gauge shows how many there are.
    pub(crate) fn new(most: Option<NonZeroU64>, used: IntGauge) -> Self {
        Self { used, most: bytes(most).into() }
    }

    /// From now on it is so many. Queues that hold more give it back when something is put into them.
    pub(crate) fn set(&self, most: Option<NonZeroU64>) {
        self.most.store(bytes(most), Ordering::Relaxed);
    }

    /// A queue held so many bytes before, and holds so many now.
    pub(super) fn changed(&self, before: u32, now: u32) {
        self.used.add(i64::from(now) - i64::from(before));
    }

    /// Whether they hold more than they may.
    pub(super) fn is_spent(&self) -> bool {
        self.used.get() > self.most.load(Ordering::Relaxed)
    }
}

fn bytes(most: Option<NonZeroU64>) -> i64 {
    most.map_or(i64::MAX, |most| i64::try_from(most.get()).unwrap_or(i64::MAX))
}
