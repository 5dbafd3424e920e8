//! From a first packet that may begin a handshake to the handshake's end.
//!
//! Most of what a handshake costs is paid at its begin: the relay's keys, and its signature. Hundreds come at once when a relay
//! nearby has died, or when somebody means harm; if all of them were begun at once, each session would wait for the last, and what comes
//! for it would overflow the socket. So few begin in each round.

use quinn::{Connection, Incoming};
use tracing::debug;

use crate::lines::Line;
use crate::metrics::Metrics;
use crate::transport::HANDSHAKE_TIMEOUT;

/// Makes the handshake, when it is its turn. There is no connection if it fails.
pub(super) async fn connect(
    incoming: Incoming,
    line: &Line,
    metrics: &Metrics,
) -> Option<Connection> {
    let from = incoming.remote_address();
    line.others_first().await;
    let Ok(connecting) = incoming.accept() else {
        metrics.handshake("failed");
        return None;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            debug!(%from, %error, "no handshake");
            metrics.handshake("failed");
            None
        }
        Err(_) => {
            metrics.handshake("timeout");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;
    use crate::connected::ends;
    use crate::lines::Lines;

    const CROWD: usize = 100;

    #[tokio::test]
    async fn of_a_crowd_that_comes_at_once_few_begin_in_each_round() {
        let (near, far) = ends();
        let address = far.local_addr().unwrap();
        let mut clients = JoinSet::new();
        for _ in 0..CROWD {
            clients.spawn(near.connect(address, "relay").unwrap().into_future());
        }
        let mut crowd = Vec::new();
        while crowd.len() < CROWD {
            crowd.push(far.accept().await.unwrap());
        }
        let (metrics, lines) = (Arc::<Metrics>::default(), Arc::<Lines>::default());
        let mut handshakes = JoinSet::new();
        for incoming in crowd {
            let (metrics, lines) = (metrics.clone(), lines.clone());
            handshakes.spawn(async move { connect(incoming, &lines.handshakes, &metrics).await });
        }
        let (mut before, mut most) = (0, 0);
        while before < CROWD {
            tokio::task::yield_now().await;
            let begun = far.open_connections();
            most = most.max(begun - std::mem::replace(&mut before, begun));
        }
        assert!(most <= 4, "{most} in a round");
        assert!(handshakes.join_all().await.iter().all(Option::is_some), "all of them are made");
        assert!(clients.join_all().await.iter().all(Result::is_ok));
    }
}
