//! Numbered datagrams from one client to another.

use std::time::{Duration, Instant};

use baton_client::{Client, TooManyRoutes};
use tokio::sync::watch;

use super::{Datagrams, Received};

/// A route that is not open by then will not be.
const PATIENCE: Duration = Duration::from_secs(20);

/// When nothing has come for so long after the last was sent, nothing will.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// How datagrams are sent.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Between two bursts.
    pub every: Duration,
    /// Datagrams at a time.
    pub burst: u32,
    /// Of each, in bytes.
    pub length: usize,
}

/// What was sent, and what came of it.
#[derive(Debug)]
pub struct Exchanged {
    /// How many.
    pub sent: u64,
    /// What came.
    pub received: Received,
}

/// A route by which nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum NoRoute {
    /// The relay allows no more.
    #[error(transparent)]
    TooMany(#[from] TooManyRoutes),
    /// It was not opened.
    #[error("the route was not opened within {} s", PATIENCE.as_secs())]
    NotOpened,
}

/// Sends numbered datagrams from one to the other until `stop`, and counts what comes for a moment more.
///
/// # Errors
/// When there is no route.
///
/// # Panics
/// When a datagram of `flow` is longer than clients take.
pub async fn exchange(
    from: &Client,
    to: &Client,
    flow: Flow,
    mut stop: watch::Receiver<bool>,
) -> Result<Exchanged, NoRoute> {
    let mut route = from.route(to.peer())?;
    tokio::time::timeout(PATIENCE, route.opened()).await.map_err(|_| NoRoute::NotOpened)?;
    let mut sent = Datagrams::default();
    let mut received = Received::default();
    let mut ticks = tokio::time::interval(flow.every);
    // A sender that could not run for a moment does not make up for it: that would be a burst which its own queue drops.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => for _ in 0..flow.burst {
                route.send(&sent.next(flow.length)).expect("a datagram fits");
            },
            (_, payload) = to.datagram() => received.came(&payload, Instant::now()),
        }
    }
    // What is under way may still come.
    while let Ok((_, payload)) = tokio::time::timeout(UNDER_WAY, to.datagram()).await {
        received.came(&payload, Instant::now());
    }
    Ok(Exchanged { sent: sent.sent(), received })
}
