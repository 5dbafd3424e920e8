//! The stream of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_client::{Client, Ended, Event, Events, LimitKind, PeerState};
use baton_relay::drain::Reason;
use baton_relay::rates::{Rate, Rates, Throughput};

use crate::fleet::{Fleet, flag};
use crate::udp::Way;

/// The next event that is one of these.
async fn next(events: &mut Events, mut is: impl FnMut(&Event) -> bool) -> Event {
    let wanted = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if is(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wanted).await.expect("the event comes")
}

#[tokio::test]
async fn what_happens_to_a_client_is_told_in_order() {
    let mut fleet = Fleet::start(1).await;
    let way = Way::to(fleet.relays[0].address()).await;
    let other = fleet.client(2, &[0]).await;
    fleet.join("second").await;
    let addresses = [way.address, fleet.relays[1].address()];
    let client = Client::connect(fleet.config_for(1, &addresses)).await.unwrap();
    let first = client.status().relay.unwrap();
    assert_eq!(client.status().path.unwrap().remote, way.address);
    let mut events = client.events();

    let _watcher = client.watch(other.peer()).await.unwrap();
    let peer = other.peer();
    let presence = |state| Event::Presence { peer, state };
    assert_eq!(next(&mut events, |_| true).await, presence(PeerState::Online));

    // Its packets come from another port: the relay asks there, and the session goes on.
    way.rebind();
    client.ping(peer).await.unwrap();
    assert_eq!(next(&mut events, |_| true).await, Event::Migrated { relay: Some(first) });
    assert_eq!(client.status().migrations, 1);
    assert_eq!(client.status().relay, Some(first));

    other.close().await;
    assert_eq!(next(&mut events, |_| true).await, presence(PeerState::Offline));

    fleet.relays[0].set_flag(flag("d", 30, Reason::Rollout));
    assert!(matches!(next(&mut events, |_| true).await, Event::MustMove { .. }));
    let moved = next(&mut events, |event| !matches!(event, Event::Failed { .. })).await;
    assert!(matches!(moved, Event::HandedOver { from, .. } if from == first), "{moved:?}");

    // The same key elsewhere: it is over here.
    let usurper = fleet.client(1, &[1]).await;
    let ended = next(&mut events, |event| matches!(event, Event::Ended(_))).await;
    assert_eq!(ended, Event::Ended(Ended::Superseded));
    client.close().await;
    assert_eq!(next(&mut events, |_| true).await, Event::Closing);
    drop(client);
    assert_eq!(events.next().await, None);
    usurper.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_listener_that_never_listens_holds_up_nobody() {
    let fleet = Fleet::start(1).await;
    let client = fleet.client(1, &[0]).await;
    let mut deaf = client.events();
    let other = fleet.client(2, &[0]).await;
    let _watcher = client.watch(other.peer()).await.unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let listening = tokio::spawn({
        let (mut events, heard) = (client.events(), heard.clone());
        async move {
            while events.next().await.is_some() {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // More changes than a listener has room for.
    other.close().await;
    for _ in 0..150 {
        fleet.client(2, &[0]).await.close().await;
    }
    crate::fleet::until("the listener has heard of all", || heard.load(Ordering::Relaxed) >= 300)
        .await;
    assert!(matches!(deaf.next().await, Some(Event::Missed(missed)) if missed > 0));
    client.close().await;
    drop(client);
    listening.await.unwrap();
    fleet.stop().await;
}

#[tokio::test]
async fn a_limit_that_its_relay_met_is_told_to_the_clients_owner() {
    let session = Throughput { datagrams: None, bytes: Rate::new(20_000) };
    let fleet = Fleet::start_with(1, Rates { session, ..Rates::default() }).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    let mut events = a.events();
    let mut route = a.route(b.peer()).unwrap();
    route.opened().await;
    for _ in 0..50 {
        route.send(&[7; 1000]).unwrap();
    }
    let limited = Event::Limited { kind: LimitKind::SessionBytes, allowed: 20_000 };
    assert_eq!(next(&mut events, |_| true).await, limited);
    a.ping(b.peer()).await.unwrap();
    for client in [a, b] {
        client.close().await;
    }
    fleet.stop().await;
}
