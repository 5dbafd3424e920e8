//! Carries the drain out: paces the GOAWAYs, closes what is overdue, follows the flag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::info;

use super::Flag;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::session::handle::Command;

/// Sessions that are told at a time, and the pause between: all at once would overrun sockets and cost seconds of
/// retransmissions (measured: 10,000 in 0.37 s with this pace, in 1.0 to 1.4 s without).
const BATCH: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// A drain without a deadline of its own is looked at this often. Changes are noticed at once.
const LOOK: Duration = Duration::from_secs(1);

/// States of `drain_state`.
const SERVING: i64 = 0;
const DRAINING: i64 = 1;
const DRAINED: i64 = 2;

/// Follows `flag` until its sender is gone.
pub(crate) async fn drive(
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    mut flag: watch::Receiver<Option<Flag>>,
) {
    let mut told: Vec<_> = Vec::new();
    loop {
        let changed = directory.changed.notified();
        if told.is_empty() {
            let standing = directory.standing();
            let state = match (standing.draining, standing.drained) {
                (_, true) => DRAINED,
                (true, false) => DRAINING,
                (false, false) => SERVING,
            };
            metrics.drain_state.set(state);
            let deadline = standing.deadline.filter(|_| standing.sessions > 0);
            let wait = deadline
                .map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                changed = flag.changed() => if changed.is_err() { return },
                () = changed => continue,
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {
                    let closed = directory.close_overdue();
                    if closed > 0 {
                        info!(closed, "the deadline came");
                        // Their ends are noticed one by one.
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            }
            told = obey(&directory, flag.borrow_and_update().clone());
        }
        // A newer flag is obeyed only between batches, by the one who tells: so nobody is told to go after being told to stay.
        for (handle, slot, at) in told.drain(..told.len().min(BATCH)) {
            let handle: Arc<crate::session::handle::Handle> = handle;
            handle.command(Command::go(slot, at));
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            Ok(()) = flag.changed() => told = obey(&directory, flag.borrow_and_update().clone()),
        }
    }
}

type Told = Vec<(Arc<crate::session::handle::Handle>, super::Slot, Instant)>;

fn obey(directory: &Directory, flag: Option<Flag>) -> Told {
    match flag {
        Some(flag) => {
            info!(id = %flag.id, grace = flag.grace_seconds, reason = ?flag.reason, "the shutdown flag is set");
            directory.begin_shutdown(flag)
        }
        None => {
            info!("the shutdown flag is withdrawn");
            directory.cancel_shutdown();
            Vec::new()
        }
    }
}
