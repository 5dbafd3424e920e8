//! The new relay of a handover dies, at every point of it.

use std::time::Duration;

use baton_client::{Client, Event, Events};
use baton_relay::drain::Reason;

use crate::fleet::{Fleet, flag, until};
use crate::toll::Toll;
use crate::transfer::Transfer;

/// The kill points: after so many of the new relay's datagrams. The last ones are behind ACTIVE_OK.
const POINTS: usize = 12;

/// So often they are tried, until one of them was where it should be.
const SERIES: usize = 8;

/// How the new relay dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    /// It says that it ends.
    Told,
    /// As if its machine had lost its power.
    Silent,
}

/// What became of a client's handover to a relay that died.
#[derive(Debug)]
struct Outcome {
    handed_over: bool,
    reclaims: u64,
    resumes: u64,
}

async fn next(events: &mut Events) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    event.expect("an event in time").expect("an open client")
}

/// Drains the first relay of three. The second, where its client goes, dies after so many datagrams; the third is left.
async fn handover_to_one_that_dies(point: usize, death: Death) -> Outcome {
    let mut fleet = Fleet::start(3).await;
    let addresses = fleet.addresses();
    let old = Toll::shut_after(addresses[0], None).await;
    let last = (death == Death::Silent).then_some(point);
    let new = Toll::shut_after(addresses[1], last).await;
    let mut config = fleet.config_for(1, &[old.address, new.address, addresses[2]]);
    if death == Death::Silent {
        config.timing.answer = Duration::from_millis(500);
        config.timing.dial = Duration::from_millis(500);
    }
    let (a, b) = (Client::connect(config).await.unwrap(), fleet.client(2, &[2]).await);
    fleet.know(2).await;
    let mut transfer = Transfer::start(&a, &b, Duration::from_millis(1)).await;
    transfer.more(20).await;
    let mut events = a.events();
    fleet.relays[0].set_flag(flag("drain", 30, Reason::Rollout));
    new.came(1).await;
    // Its MOVED_OK comes when the new relay is dead.
    old.hold(death == Death::Told);
    let mut handed_over = false;
    let at_the_point = async {
        new.came(point).await;
    };
    let over = async { while !matches!(next(&mut events).await, Event::HandedOver { .. }) {} };
    tokio::select! {
        biased;
        () = over => handed_over = true,
        () = at_the_point => {}
    }
    let dead = fleet.relays.remove(1);
    let lost = dead.id();
    match death {
        Death::Told => {
            let known = async {
                loop {
                    match next(&mut events).await {
                        Event::HandedOver { to, .. } if to == lost => handed_over = true,
                        // One that ends turns dials away: those are made elsewhere without a word.
                        Event::HandedOver { .. } | Event::Failed { .. } | Event::Lost { .. } => {
                            break;
                        }
                        _ => {}
                    }
                }
                old.hold(false);
            };
            tokio::join!(dead.stop(), known);
        }
        Death::Silent => drop(dead),
    }
    let (left, last) = (fleet.relays[1].id(), &fleet.relays[0]);
    until("it is at the relay that is left", || a.status().relay == Some(left)).await;
    transfer.more(20).await;
    transfer.finish().await;
    tokio::time::timeout(Duration::from_secs(20), last.drained()).await.unwrap();
    let drain = last.status().drain.unwrap();
    assert_eq!(
        (drain.left, drain.forced, drain.silent),
        (0, 0, 0),
        "{point}, {death:?}: {drain:?}"
    );
    assert_eq!(drain.moved, 1, "{point}, {death:?}");
    let status = a.status();
    a.close().await;
    b.close().await;
    fleet.stop().await;
    Outcome { handed_over, reclaims: status.reclaims, resumes: status.resumes }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_before_moved_ok_costs_no_session() {
    let mut reclaimed = [0, 0];
    for point in 1..=POINTS {
        let outcome = handover_to_one_that_dies(point, Death::Told).await;
        println!("after {point} datagrams: {outcome:?}");
        assert_eq!(outcome.resumes, 0, "after {point} datagrams: {outcome:?}");
        assert!(outcome.reclaims == 1 || !outcome.handed_over, "after {point}: {outcome:?}");
        reclaimed[usize::from(outcome.handed_over)] += outcome.reclaims;
    }
    assert!(reclaimed[1] > 0, "some died between ACTIVE_OK and MOVED_OK: {reclaimed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_falls_silent_before_active_ok_costs_no_session() {
    // What a datagram carries differs from one handover to the next, as the two come to it: which ones are between WELCOME and
    // ACTIVE_OK does, too, and there may be one only.
    let mut reclaimed = 0;
    for series in 1..=SERIES {
        for point in 1..=POINTS {
            let outcome = handover_to_one_that_dies(point, Death::Silent).await;
            println!("{series}: after {point} datagrams: {outcome:?}");
            if outcome.handed_over {
                // From here on it is a loss like any other.
                break;
            }
            // What was handed over after all, in the same moment, was lost later.
            reclaimed += outcome.reclaims;
        }
        if reclaimed > 0 {
            return;
        }
    }
    panic!("none died between WELCOME and ACTIVE_OK");
}
