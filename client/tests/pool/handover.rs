//! Relays that go away while clients work.

use std::time::Duration;

use baton_client::{Client, Ended, Event, PeerState};
use baton_relay::drain::Reason;

use crate::fleet::{Fleet, flag, until};
use crate::transfer::{Transfer, datagrams};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_survive_a_handover_between_two_relays_under_a_live_transfer() {
    let fleet = Fleet::start(2).await;
    let (a, b) = (fleet.client(1, &[0, 1]).await, fleet.client(2, &[0, 1]).await);
    fleet.know(2).await;
    // What the same takes where nothing moves.
    let mut control = Transfer::start(&a, &b, Duration::ZERO).await;
    let (control_sent, control_came) = datagrams(&a, &b, Duration::from_secs(2)).await;
    control.more(2000).await;
    println!("control: {:?}; datagrams: {control_came} of {control_sent}", control.finish().await);
    let mut transfer = Transfer::start(&a, &b, Duration::ZERO).await;
    transfer.more(2000).await;
    fleet.relays[0].set_flag(flag("drain", 20, Reason::Rollout));
    let (sent, came) = datagrams(&a, &b, Duration::from_secs(2)).await;
    tokio::time::timeout(Duration::from_secs(20), fleet.relays[0].drained()).await.unwrap();
    let drain = fleet.relays[0].status().drain.unwrap();
    assert_eq!((drain.moved, drain.left, drain.forced, drain.silent), (2, 0, 0, 0), "{drain:?}");
    transfer.more(2000).await;
    let received = transfer.finish().await;
    for client in [&a, &b] {
        let status = client.status();
        assert_eq!(status.relay, Some(fleet.relays[1].id()));
        assert_eq!((status.handovers, status.resumes), (1, 0), "{status:?}");
    }
    println!("{received:?}; datagrams: {came} of {sent}");
    // A stream without a pause fills the relays' queues now and then, and then they drop the oldest, with and without a move.
    assert!(sent - came <= sent / 100 + (control_sent - control_came), "{came} of {sent} came");
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_every_relay_that_it_began_with() {
    let mut fleet = Fleet::start(2).await;
    let addresses = fleet.addresses();
    // What a balancer's address is in life: a list that leads to every relay there will be.
    fleet.join("relay 2").await;
    fleet.join("relay 3").await;
    let all = fleet.addresses();
    assert_eq!(all[..2], addresses);
    let (a, b) = (fleet.client(1, &[0, 1, 2, 3]).await, fleet.client(2, &[1, 2, 3, 0]).await);
    fleet.know(2).await;
    let mut transfer = Transfer::start(&a, &b, Duration::from_millis(1)).await;
    for _ in 0..2 {
        transfer.more(300).await;
        let relay = fleet.relays.remove(0);
        relay.set_flag(flag("drain", 20, Reason::Rollout));
        tokio::time::timeout(Duration::from_secs(20), relay.drained()).await.unwrap();
        let drain = relay.status().drain.unwrap();
        assert_eq!((drain.forced, drain.silent), (0, 0), "{drain:?}");
        relay.stop().await;
    }
    transfer.more(300).await;
    println!("{:?}", transfer.finish().await);
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_handover_is_no_news_to_watchers() {
    let fleet = Fleet::start(2).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[1, 0]).await);
    fleet.know(2).await;
    let mut watcher = a.watch(b.peer()).await.unwrap();
    assert_eq!(watcher.next().await, Some(PeerState::Online));
    fleet.relays[1].set_flag(flag("drain", 20, Reason::Rollout));
    until("the peer has moved", || b.status().handovers == 1).await;
    fleet.relays[1].drained().await;
    b.close().await;
    assert_eq!(watcher.next().await, Some(PeerState::Offline), "nothing was said before");
    a.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_drain_that_is_taken_back_leaves_a_session_that_takes_new_routes() {
    let fleet = Fleet::start(2).await;
    let holding = fleet.config(1, &[0, 1]).move_delay(Duration::from_secs(20));
    let (a, b) = (Client::connect(holding).await.unwrap(), fleet.client(2, &[1]).await);
    fleet.know(2).await;
    let mut events = a.events();
    fleet.relays[0].set_flag(flag("drain", 60, Reason::Rollout));
    assert!(matches!(events.next().await, Some(Event::MustMove { .. })));
    until("it is acknowledged", || {
        fleet.relays[0].status().drain.is_some_and(|drain| drain.acknowledged == 1)
    })
    .await;
    // Opened while the session must go: it waits.
    let mut route = a.route(b.peer()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), route.opened()).await.is_err());
    fleet.relays[0].set_flag(None);
    assert_eq!(events.next().await, Some(Event::MayStay));
    tokio::time::timeout(Duration::from_secs(2), route.opened()).await.unwrap();
    a.ping(b.peer()).await.unwrap();
    let status = a.status();
    assert_eq!((status.handovers, status.relay), (0, Some(fleet.relays[0].id())));
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_pool_that_closes_is_the_end() {
    let fleet = Fleet::start(2).await;
    let a = fleet.client(1, &[0, 1]).await;
    let mut events = a.events();
    fleet.relays[0].set_flag(flag("drain", 20, Reason::Closing));
    let end = async {
        loop {
            if let Some(Event::Ended(why)) = events.next().await {
                return why;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), end).await.unwrap(), Ended::Closing);
    fleet.relays[0].drained().await;
    let drain = fleet.relays[0].status().drain.unwrap();
    assert_eq!((drain.left, drain.forced, drain.silent), (1, 0, 0), "{drain:?}");
    a.close().await;
    fleet.stop().await;
}
