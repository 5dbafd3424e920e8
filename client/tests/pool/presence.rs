//! Watching other peers.

use std::time::Duration;

use baton_client::PeerState;

use crate::fleet::Fleet;

#[tokio::test]
async fn a_watcher_sees_a_peer_come_go_and_come_back() {
    let fleet = Fleet::start(2).await;
    let a = fleet.client(1, &[0]).await;
    let b = fleet.client(2, &[1]).await;
    let peer = b.peer();
    fleet.know(2).await;
    let mut watcher = a.watch(peer).await.unwrap();
    assert_eq!(watcher.next().await, Some(PeerState::Online));
    b.close().await;
    assert_eq!(watcher.next().await, Some(PeerState::Offline));
    let again = fleet.client(2, &[0]).await;
    assert_eq!(watcher.next().await, Some(PeerState::Online));
    // Another process with the same key: it was away and is there, in that order.
    let other = fleet.client(2, &[1]).await;
    let change = tokio::time::timeout(Duration::from_secs(5), watcher.next());
    assert_eq!(change.await.unwrap(), Some(PeerState::Offline));
    assert_eq!(watcher.next().await, Some(PeerState::Online));
    again.close().await;
    other.close().await;
    a.close().await;
    fleet.stop().await;
}
