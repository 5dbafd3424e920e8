//! Many pairs that talk while something happens to the relays under them.

use std::time::Duration;

use baton_client::ClientConfig;
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
    /// Attempts that failed and were made again.
    pub failures: u64,
}

/// So many pairs whose two peers are on different relays: then everything they say passes the mesh. `two` makes two more
/// peers each time.
///
/// # Panics
/// As [`Pair::connect`].
pub async fn pairs_apart(count: usize, mut two: impl FnMut() -> [ClientConfig; 2]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let [one, other] = two();
        let pair = Pair::connect(one, other).await;
        let [one, other] = pair.statuses();
        if one.relay == other.relay {
            pair.close().await;
        } else {
            pairs.push(pair);
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
            let failures = statuses.iter().flat_map(|status| status.failures.values()).sum();
            pair.close().await;
            Talked { outcome, handovers, failures }
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
        all.failures += talked.failures;
    }
    (all, result)
}
