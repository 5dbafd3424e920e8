//! One goes the rounds and looks at every session, about once a second, so that those with nothing to do sleep.
//!
//! If each session woke up to look at itself, what that costs would mostly be the waking: a timer, a task, all that the task waits for
//! being asked anew, from memory that is in no cache. For a relay with a few busy sessions among idle ones that was a tenth of all its
//! time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::id::SessionId;
use tokio::sync::watch;

use super::Shared;
use super::glance::Sight;
use super::handle::Handle;

/// How long a round takes. Sessions to which datagrams come notice a new address sooner, by themselves.
const ROUND: Duration = Duration::from_secs(1);

/// So many are looked at without a pause: a fraction of a millisecond, in which nobody else has a turn.
const AT_ONCE: usize = 128;

/// Goes the rounds until the relay stops.
pub(crate) async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    // Often enough for the times that hold, which tests make short.
    let round = ROUND.min(shared.timers.keep_alive / 4);
    let mut last = None;
    loop {
        let pause = pause(round, shared.directory.sessions());
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(pause) => {}
        }
        last = look_at_some(&shared, last, Instant::now());
    }
}

/// From one look to the next, if a round of so many sessions is to take so long.
fn pause(round: Duration, sessions: usize) -> Duration {
    let looks = u32::try_from(sessions.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    round / looks.max(1)
}

/// Looks at those that come after `last`. Gives the last of them, or `None` if the round is over.
fn look_at_some(shared: &Shared, last: Option<SessionId>, now: Instant) -> Option<SessionId> {
    let sessions = shared.directory.sessions_after(last, AT_ONCE);
    let (rules, limit) = (shared.gate.generation(), shared.rates.get().receiver);
    for handle in &sessions {
        handle.egress.set_limit(limit, now);
        look_at(shared, handle, rules, now);
    }
    sessions.last().filter(|_| sessions.len() == AT_ONCE).map(|handle| handle.id)
}

fn look_at(shared: &Shared, handle: &Handle, rules: u64, now: Instant) {
    let sight = Sight::of(&handle.connection);
    let look = handle.glance().look(sight, rules, &shared.timers, now);
    if look.suspects != 0 {
        shared.metrics.suspects.add(look.suspects);
    }
    if look.is_news {
        handle.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_as_long_whatever_there_is_to_look_at() {
        assert_eq!([0, 1, 128].map(|sessions| pause(ROUND, sessions)), [ROUND; 3]);
        for sessions in [129_usize, 1000, 10_000, 1_000_000] {
            let looks = u32::try_from(sessions.div_ceil(AT_ONCE)).unwrap();
            let took = pause(ROUND, sessions) * looks;
            assert!(ROUND - took < Duration::from_millis(1), "{sessions}: {took:?}");
        }
    }
}
