//! Carries the drain out: paces the GOAWAYs and their withdrawal, closes what is overdue, follows the flag.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
use baton_protocol::id::SessionId;
use tokio::sync::watch;
use tracing::info;

use super::Flag;
use crate::directory::{Directory, Told};
use crate::metrics::Metrics;

/// Sessions that are told at a time, and the pause between. All at once would overrun sockets; and where the relay, or what its
/// clients share, falls behind for longer than a quiet session's probe timeout, some 30 ms, both ends of every session ask whether
/// the other is there, which costs more than what they had fallen behind with, and then seconds. Besides, those whose traffic goes
/// on shall not notice: a core can do about twice this.
const BATCH: usize = 125;
const PAUSE: Duration = Duration::from_millis(5);

/// A drain without a deadline of its own is looked at this often. Changes are noticed at once.
const LOOK: Duration = Duration::from_secs(1);

/// States of `drain_state`.
const SERVING: i64 = 0;
const DRAINING: i64 = 1;
const DRAINED: i64 = 2;
const LINGERING: i64 = 3;

/// Follows `flag` until the relay stops.
pub(crate) async fn drive(
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    mut flag: watch::Receiver<Option<Flag>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut crier = Crier::default();
    loop {
        let changed = directory.changed.notified();
        // What is due is done first: changes that never end must not keep the deadline waiting.
        let overdue = directory.close_overdue();
        crier.tell(BATCH);
        let wait = match crier.is_done() {
            true => look(&directory, &metrics),
            false => PAUSE,
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            set = flag.changed() => {
                if set.is_err() { return }
                let flag = flag.borrow_and_update().clone();
                crier.obey(&directory, flag);
            }
            () = tokio::time::sleep(wait) => {}
            // The ends of those that were closed are looked at together, not one by one.
            () = changed, if crier.is_done() && overdue == 0 => {}
        }
    }
}

/// Reports how it stands. Gives how long to wait for a change.
fn look(directory: &Directory, metrics: &Metrics) -> Duration {
    let standing = directory.standing();
    let state = (standing.lingering, standing.drained, standing.draining);
    metrics.drain_state.set(match state {
        (true, ..) => LINGERING,
        (_, true, _) => DRAINED,
        (_, _, true) => DRAINING,
        _ => SERVING,
    });
    let deadline = standing.deadline.filter(|_| standing.sessions > 0);
    let wait = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Those that were closed are gone a moment later.
    wait.unwrap_or(LOOK).max(PAUSE)
}

/// Tells sessions to go or to stay, some at a time, and obeys the flag. Both are one's work: a newer flag is obeyed only between
/// batches, and what was still to be said of an older one is not said any more, so what a session hears last is what the flag says.
#[derive(Debug, Default)]
pub(crate) struct Crier {
    /// Who is still to be told.
    told: VecDeque<Told>,
}

impl Crier {
    /// Tells the next sessions.
    pub(crate) fn tell(&mut self, at_most: usize) {
        for (handle, command) in self.told.drain(..self.told.len().min(at_most)) {
            handle.command(command);
        }
    }

    /// Whether everyone is told.
    pub(crate) fn is_done(&self) -> bool {
        self.told.is_empty()
    }

    /// Whom it is about to tell.
    #[cfg(test)]
    pub(crate) fn to_tell(&self) -> impl Iterator<Item = SessionId> {
        self.told.iter().map(|(handle, ..)| handle.id)
    }

    /// The flag was set, changed or withdrawn.
    pub(crate) fn obey(&mut self, directory: &Directory, flag: Option<Flag>) {
        match flag {
            Some(flag) => {
                info!(id = %flag.id, grace = flag.grace_seconds, reason = ?flag.reason, "the shutdown flag is set");
                if let Some(newly) = directory.begin_shutdown(flag) {
                    self.told = newly.into();
                }
            }
            None => {
                info!("the shutdown flag is withdrawn");
                self.told = directory.cancel_shutdown().into();
            }
        }
    }
}
