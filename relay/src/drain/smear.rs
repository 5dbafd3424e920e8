//! The smear: when each of many sessions should begin to move, so that they do not all return at once.

use std::time::Duration;

/// A session's slot never comes later than so long before the deadline: moving takes time too.
const MARGIN: Duration = Duration::from_secs(5);

/// The latest slot, if so much time is left.
pub(super) fn latest(left: Duration) -> Duration {
    left.saturating_sub(MARGIN).max(left / 2)
}

/// The slot of the session at `position` among `count`, of which `rate` may return per second (0 = no limit). A rate that is
/// too low for the time that is left is not kept; then the sessions are spread evenly, instead of the rest all at the end.
pub(super) fn slot(position: usize, count: usize, rate: u32, left: Duration) -> Duration {
    if rate == 0 || position == 0 {
        return Duration::ZERO;
    }
    let last = count.max(position + 1) - 1;
    let paced = Duration::from_secs_f64(last as f64 / f64::from(rate));
    paced.min(latest(left)).mul_f64(position as f64 / last as f64)
}

/// The rate at which `sessions` return within `window`. Few are not held back for the whole of it: there is one per second.
pub(super) fn rate(sessions: usize, window: Duration) -> u32 {
    let rate = (sessions as f64 / window.as_secs_f64().max(0.001)).ceil();
    // Saturates, which is fast enough.
    (rate as u32).max(1)
}
