//! Relays that are gone without a word.

use std::time::{Duration, Instant};

use baton_client::Client;

use crate::fleet::{Fleet, until};
use crate::transfer::Transfer;
use crate::udp::Way;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_survive_a_relay_that_vanishes() {
    let fleet = Fleet::start(2).await;
    let way = Way::to(fleet.relays[0].address()).await;
    let config = fleet.config_for(1, &[way.address, fleet.relays[1].address()]);
    let (a, b) = (Client::connect(config).await.unwrap(), fleet.client(2, &[1]).await);
    fleet.know(2).await;
    let mut transfer = Transfer::start(&a, &b, Duration::from_millis(1)).await;
    transfer.more(500).await;
    let began = Instant::now();
    way.cut();
    until("it is attached to the other relay", || a.status().relay == Some(fleet.relays[1].id()))
        .await;
    let attached = began.elapsed();
    transfer.more(500).await;
    let received = transfer.finish().await;
    println!("attached elsewhere after {attached:?}; {received:?}");
    assert!(attached < Duration::from_secs(6), "{attached:?}");
    assert!(
        received.iter().all(|direction| direction.longest_gap < Duration::from_secs(10)),
        "{received:?}"
    );
    assert_eq!(a.status().resumes, 1);
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_is_cut_for_seconds_costs_nothing_but_time() {
    let fleet = Fleet::start(1).await;
    let way = Way::to(fleet.relays[0].address()).await;
    let a = Client::connect(fleet.config_for(1, &[way.address])).await.unwrap();
    let b = fleet.client(2, &[0]).await;
    let mut transfer = Transfer::start(&a, &b, Duration::from_millis(1)).await;
    transfer.more(100).await;
    way.cut();
    // Long enough to dial a second session, which comes to nothing.
    tokio::time::sleep(Duration::from_secs(4)).await;
    way.mend();
    transfer.more(100).await;
    let received = transfer.finish().await;
    println!("{received:?}");
    assert!(
        received.iter().all(|direction| direction.longest_gap < Duration::from_secs(8)),
        "{received:?}"
    );
    assert_eq!(a.status().relay, Some(fleet.relays[0].id()));
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

/// Long packets are lost in bursts when a buffer overflows, and small ones between them are not. quinn takes that for a
/// narrower path; but nothing end to end fits one.
async fn long_packets_are_lost_for_a_while(direction: usize) {
    let fleet = Fleet::start(1).await;
    let way = Way::to(fleet.relays[0].address()).await;
    let a = Client::connect(fleet.config_for(1, &[way.address])).await.unwrap();
    let b = fleet.client(2, &[0]).await;
    let mut transfer = Transfer::start(&a, &b, Duration::from_millis(1)).await;
    transfer.more(500).await;
    for _ in 0..12 {
        way.narrow(direction, 1200);
        tokio::time::sleep(Duration::from_millis(60)).await;
        way.narrow(direction, usize::MAX);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    transfer.more(500).await;
    println!("{:?}", transfer.finish().await);
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_lost_packets_to_the_relay_do_not_narrow_the_way_for_good() {
    long_packets_are_lost_for_a_while(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_lost_packets_from_the_relay_do_not_narrow_the_way_for_good() {
    long_packets_are_lost_for_a_while(1).await;
}
