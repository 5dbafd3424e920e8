//! Waiting for a level that only asking shows.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Whether `holds` says yes within `deadline`, asked each `period`.
pub async fn happens(
    deadline: Duration,
    period: Duration,
    mut holds: impl FnMut() -> bool,
) -> bool {
    let waiting = async {
        while !holds() {
            sleep(period).await;
        }
    };
    timeout(deadline, waiting).await.is_ok()
}

/// Waits until `holds` says yes.
///
/// # Panics
/// When it does not in time.
pub async fn until(what: &str, deadline: Duration, holds: impl FnMut() -> bool) {
    let happened = happens(deadline, Duration::from_millis(10), holds).await;
    assert!(happened, "not seen within {deadline:?}: {what}");
}
