//! Peers that attach, and vanish without a word.

use std::sync::Arc;
use std::time::Duration;

use baton_client::Profile;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Meters;
use super::peer::Peer;

/// Ghosts that are still alive at a time. More come later.
const AT_ONCE: usize = 256;

/// Lets so many appear per second, until `stop`.
pub(super) async fn haunt(
    per_second: f64,
    profile: Arc<Profile>,
    meters: Arc<Meters>,
    mut stop: watch::Receiver<bool>,
) {
    if per_second <= 0.0 {
        return;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    let mut ghosts = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick(), if ghosts.len() < AT_ONCE => {
                ghosts.spawn(ghost(profile.clone(), meters.clone()));
            }
            Some(_) = ghosts.join_next() => {}
        }
    }
    while ghosts.join_next().await.is_some() {}
}

async fn ghost(profile: Arc<Profile>, meters: Arc<Meters>) {
    let Some(peer) = Peer::attach(&profile, true, &meters).await else { return };
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..1000))).await;
    peer.vanish(&meters).await;
    meters.lock().ghosts += 1;
}
