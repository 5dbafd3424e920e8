//! The end of a relay that a library user holds.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use baton_protocol::close::CloseCode;
use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::peer::{Peer, Who};
use crate::pool::{self, flag};

#[tokio::test]
async fn stop_is_idempotent_also_for_several_at_once_and_frees_the_ports() {
    let relay = Arc::new(pool::one().await);
    let (peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    let drained = tokio::spawn({
        let relay = relay.clone();
        async move { relay.drained().await }
    });
    let mut stops = JoinSet::new();
    for _ in 0..8 {
        let relay = relay.clone();
        stops.spawn(async move {
            relay.stop().await;
            // Whoever comes back finds it ended.
            relay.status().sessions
        });
    }
    while let Some(left) = stops.join_next().await {
        assert_eq!(left.unwrap(), 0, "sessions are left");
    }
    let is_free = || UdpSocket::bind(relay.address()).is_ok();
    pool::until("the public port is free", is_free).await;
    assert_eq!(peer.closed().await, u64::from(CloseCode::Shutdown.code()));
    assert!(TcpListener::bind(relay.admin_address()).is_ok(), "the admin port is free");
    relay.stop().await;
    relay.set_flag(Some(flag("u-1", 60)));
    drained.await.unwrap();
}

#[tokio::test]
async fn a_stop_that_is_given_up_half_way_is_finished_by_the_next() {
    let relay = pool::one().await;
    let (peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    // Polled once: there are tasks to be joined, so it cannot have ended.
    assert!(relay.stop().now_or_never().is_none());
    assert!(TcpListener::bind(relay.admin_address()).is_err(), "half way");
    relay.stop().await;
    assert!(TcpListener::bind(relay.admin_address()).is_ok());
    assert_eq!(peer.closed().await, u64::from(CloseCode::Shutdown.code()));
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_drain_ends_it() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    relay.set_flag(Some(flag("u-1", 60)));
    peer.go_away().await;
    relay.stop().await;
    assert_eq!(peer.closed().await, u64::from(CloseCode::Shutdown.code()));
    let report = relay.status().drain.unwrap();
    assert_eq!((report.at_flag, report.remaining, report.silent), (1, 0, 1));
}
