//! Carries a load out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_client::Profile;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ghosts::haunt;
use super::pair::Lives;
use super::{Meters, Plan, Report, Tally};

/// Attaches all peers, lets them do what they do for the plan's duration, and tells what came of it.
///
/// # Panics
/// When a task of it does.
pub async fn run(plan: &Plan, profile: &Profile) -> Report {
    let (stop, stopped) = watch::channel(false);
    let (born, mut births) = watch::channel(0);
    let (profile, meters) = (Arc::new(profile.clone()), Arc::new(Meters::new()));
    let pairs = plan.peers / 2;
    let mut ticks =
        tokio::time::interval(Duration::from_secs_f64(2.0 / plan.attach_per_second.max(0.1)));
    let mut lives = JoinSet::new();
    for pair in 0..pairs {
        ticks.tick().await;
        let pattern = plan.mix.pattern(pair, pairs);
        // Spread over all patterns, like the patterns over all pairs.
        let rebinds =
            ((pair + 1) as f64 * plan.rebinding).floor() > (pair as f64 * plan.rebinding).floor();
        let this = Lives {
            pattern,
            profile: profile.clone(),
            meters: meters.clone(),
            rebind_every: rebinds.then_some(plan.rebind_every),
            mean_life: mean_life(pairs, plan.churn_per_second),
        };
        let (stopped, born) = (stopped.clone(), born.clone());
        lives.spawn(async move { (pattern, this.run(stopped, born).await) });
    }
    // The sender is here: it does not end.
    let _ = births.wait_for(|born| *born == pairs).await;
    let ghosts = tokio::spawn(haunt(plan.ghosts_per_second, profile, meters.clone(), stopped));
    tokio::time::sleep(plan.duration).await;
    stop.send_replace(true);
    ghosts.await.expect("ghosts vanish");
    let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
    while let Some(ended) = lives.join_next().await {
        let (pattern, tally) = ended.expect("a pair lives to its end");
        *tallies.entry(pattern).or_default() += &tally;
    }
    let meters = Arc::try_unwrap(meters).expect("every task has ended");
    Report { tallies, counted: meters.into_inner() }
}

/// How long pairs live, if so many peers leave per second.
fn mean_life(pairs: usize, churn_per_second: f64) -> Option<Duration> {
    let peers = 2.0 * pairs as f64;
    (churn_per_second > 0.0).then(|| Duration::from_secs_f64(peers / churn_per_second))
}
