//! Streams and datagrams through relays that stay.

use std::time::Duration;

use baton_client::{Allow, Client, Identity, OpenError, Rejection, ServiceName};

use crate::fleet::Fleet;
use crate::transfer::{Transfer, datagrams};

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

#[tokio::test]
async fn two_clients_exchange_datagrams_and_streams_through_one_relay() {
    let fleet = Fleet::start(1).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    // A relay writes WELCOME before it announces the peer, so the very first datagram may be too early.
    fleet.know(2).await;
    let (sent, came) = datagrams(&a, &b, Duration::from_millis(300)).await;
    assert!(sent > 20);
    assert_eq!(sent, came);
    let mut transfer = Transfer::start(&a, &b, Duration::ZERO).await;
    transfer.more(1000).await;
    let received = transfer.finish().await;
    assert!(received.iter().all(|direction| direction.blocks > 100), "{received:?}");
    assert!(a.ping(b.peer()).await.unwrap() < Duration::from_secs(1));
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn two_clients_on_different_relays_reach_each_other() {
    let fleet = Fleet::start(2).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[1]).await);
    fleet.know(2).await;
    assert_ne!(a.status().relay, b.status().relay);
    let mut transfer = Transfer::start(&a, &b, Duration::ZERO).await;
    transfer.more(500).await;
    transfer.finish().await;
    let (sent, came) = datagrams(&b, &a, Duration::from_millis(200)).await;
    assert_eq!(sent, came);
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_stream_is_rejected_with_the_reason() {
    let fleet = Fleet::start(1).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    let stranger = Identity::from_seed([9; 32]).peer();
    b.offer(service("private"), Allow::Peers([stranger].into()));
    b.offer(service("broken"), Allow::Peers([a.peer()].into()));
    let broken = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.unwrap().reject(Rejection::Unreachable).await }
    });
    for (name, why) in [
        ("absent", Rejection::UnknownService),
        ("private", Rejection::NotAllowed),
        ("broken", Rejection::Unreachable),
    ] {
        let error = a.open(b.peer(), &service(name)).await.unwrap_err();
        assert!(matches!(error, OpenError::Rejected(reason) if reason == why), "{name}: {error}");
    }
    broken.await.unwrap();
    let error = a.open(stranger, &service("any")).await.unwrap_err();
    assert!(matches!(error, OpenError::Offline), "{error}");
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_peer_that_comes_back_as_another_process_is_reached_at_once() {
    let fleet = Fleet::start(1).await;
    let a = fleet.client(1, &[0]).await;
    let first = fleet.client(2, &[0]).await;
    a.ping(first.peer()).await.unwrap();
    // Without a word: what it knew of its connections is gone.
    let peer = first.peer();
    drop(first);
    let second = fleet.client(2, &[0]).await;
    let began = std::time::Instant::now();
    a.ping(peer).await.unwrap();
    println!("reached again after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    a.close().await;
    second.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_closed_client_leaves_no_task() {
    let fleet = Fleet::start(1).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = alive();
    let (a, b): (Client, Client) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    a.ping(b.peer()).await.unwrap();
    let mut watcher = a.watch(b.peer()).await.unwrap();
    a.close().await;
    b.close().await;
    while watcher.next().await.is_some() {}
    assert!(b.accept().await.is_none());
    // quinn's own task of the inner endpoint lives as long as someone could use it.
    drop((a, b));
    crate::fleet::until("the tasks have ended", || alive() <= before).await;
    fleet.stop().await;
}
