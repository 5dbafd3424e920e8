//! Many pairs that talk while something happens to the relays under them.

use std::time::Duration;

use baton_client::{ClientConfig, RelayId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Offered, Outcome, Pair};

/// What many pairs came to.
#[derive(Debug, Clone, Default)]
pub struct Talked {
    /// What of their traffic arrived.
    pub outcome: Outcome,
    /// Moves without a gap, as the clients count them.
    pub handovers: u64,
    /// Attachments after a loss, as the clients count them.
    pub resumes: u64,
    /// Attempts that failed and were made again.
    pub failures: u64,
}

/// So many pairs whose two peers are on different relays: then everything they say passes the mesh. `two` makes two more
/// peers each time.
///
/// # Panics
/// As [`Pair::connect`].
pub async fn pairs_apart(count: usize, two: impl FnMut() -> [ClientConfig; 2]) -> Vec<Pair> {
    pairs_where(count, two, |[one, other]| one != other).await
}

/// So many pairs of which one peer, and only one, is on this relay.
///
/// # Panics
/// As [`Pair::connect`].
pub async fn pairs_across(
    relay: RelayId,
    count: usize,
    two: impl FnMut() -> [ClientConfig; 2],
) -> Vec<Pair> {
    let is_on = |home: &Option<RelayId>| *home == Some(relay);
    pairs_where(count, two, |[one, other]| is_on(one) != is_on(other)).await
}

async fn pairs_where(
    count: usize,
    mut two: impl FnMut() -> [ClientConfig; 2],
    are_wanted: impl Fn(&[Option<RelayId>; 2]) -> bool,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let [one, other] = two();
        let pair = Pair::connect(one, other).await;
        if are_wanted(&pair.statuses().map(|status| status.relay)) {
            pairs.push(pair);
        } else {
            pair.close().await;
        }
    }
    pairs
}

/// Lets all pairs talk from `margin` before `meanwhile` begins to `margin` after it ends, and closes them.
///
/// # Panics
/// When a pair does.
pub async fn talk<T>(
    pairs: Vec<Pair>,
    offered: Offered,
    margin: Duration,
    meanwhile: impl Future<Output = T>,
) -> (Talked, T) {
    let (stop, stopped) = watch::channel(false);
    let mut talks = JoinSet::new();
    for mut pair in pairs {
        let stopped = stopped.clone();
        talks.spawn(async move {
            let outcome = pair.talk(offered, stopped).await;
            let statuses = pair.statuses();
            let handovers = statuses.iter().map(|status| status.handovers).sum();
            let resumes = statuses.iter().map(|status| status.resumes).sum();
            let failures = statuses.iter().flat_map(|status| status.failures.values()).sum();
            pair.close().await;
            Talked { outcome, handovers, resumes, failures }
        });
    }
    sleep(margin).await;
    let result = meanwhile.await;
    sleep(margin).await;
    stop.send_replace(true);
    let mut all = Talked::default();
    while let Some(talked) = talks.join_next().await {
        let talked = talked.expect("a pair talks to its end");
        all.outcome += talked.outcome;
        all.handovers += talked.handovers;
        all.resumes += talked.resumes;
        all.failures += talked.failures;
    }
    (all, result)
}
