//! What the queues of all sessions hold together. Each is bounded by itself, but there may be thousands of sessions that read too
//! slowly, or not at all.
//!
//! Each may hold as much as is left: so those who always have more stop before all is used, the more of them there are the sooner,
//! and there is as much for whoever comes next as each of them has. (Choudhury and Hahne, "Dynamic Queue Length Thresholds
//! for Shared-Memory Packet Switches", 1998.)

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

    /// How many bytes are left: as many as each queue may hold.
    pub(super) fn left(&self) -> u64 {
        let most = self.most.load(Ordering::Relaxed);
        u64::try_from(most.saturating_sub(self.used.get())).unwrap_or(0)
    }
}

fn bytes(most: Option<NonZeroU64>) -> i64 {
    most.map_or(i64::MAX, |most| i64::try_from(most.get()).unwrap_or(i64::MAX))
}
