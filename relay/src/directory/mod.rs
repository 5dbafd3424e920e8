//! Who is where: the sessions of this relay, the peers of the pool, the links to siblings, and the shutdown state.
//!
//! All of it is behind one lock, because its parts change together: a session is registered, judged by the shutdown state,
//! and announced to watchers and siblings, and nobody may come between. The lock is never held across an await, and datagrams
//! do not take it: a route holds a [`Destination`], which is re-pointed when its peer moves.
//!
//! Invariants:
//! - Every session is in `sessions` from its WELCOME to its end, and if a drain is on, the drain owns it.
//! - `homes` holds the session under whose stamp this relay announced a peer, exactly while that announcement is current and
//!   the session is here.
//! - A peer that is offline has no session here that is its home: whoever ends elsewhere falls back to the one that it has not
//!   left.
//! - A destination's target is what `presence` says, whenever the lock is free.
//! - What siblings are told, they are told in the order in which it happened here.
//! - Whom a peer lets in is known by its session alone; of peers elsewhere there is a hint (`reach.rs`).

mod destination;
mod interest;
mod links;
mod reach;
#[cfg(test)]
mod seeds;
mod sessions;
mod shutdown;
mod sibling;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use baton_protocol::id::RelayId;
use tokio::sync::Notify;

pub(crate) use destination::{Destination, Target};
pub(crate) use sessions::Joining;
pub(crate) use shutdown::Told;
pub(crate) use sibling::{MAX_NEWS, Sibling};
use state::{State, leave};

use crate::metrics::Metrics;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Directory {
    me: RelayId,
    metrics: Arc<Metrics>,
    max_sessions: AtomicUsize,
    state: Mutex<State>,
    /// Told at every change that someone may wait for: sessions, drain, siblings, timers.
    pub(crate) changed: Notify,
}
/// A relay that has as many sessions as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A link to a sibling to which a better one exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate;

impl Directory {
    pub(crate) fn new(me: RelayId, max_sessions: usize, metrics: Arc<Metrics>) -> Self {
        let max_sessions = max_sessions.into();
        Self { me, metrics, max_sessions, state: Mutex::default(), changed: Notify::new() }
    }

    /// How many sessions there may be.
    pub(crate) fn max_sessions(&self) -> usize {
        self.max_sessions.load(Ordering::Relaxed)
    }

    /// From now on there may be so many. Those that there are stay.
    pub(crate) fn set_max_sessions(&self, max_sessions: usize) {
        self.max_sessions.store(max_sessions, Ordering::Relaxed);
    }

    /// The relay that this is the directory of.
    pub(crate) fn me(&self) -> RelayId {
        self.me
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.lock().presence.poll_timeout()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&self) {
        let mut state = self.lock();
        let changes = state.presence.handle_timeout(Instant::now());
        changes.iter().for_each(|change| state.apply(self.me, change));
    }

    /// Nothing in here panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        // Tests decide who is next.
        #[cfg(test)]
        seeds::turns::pass();
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
