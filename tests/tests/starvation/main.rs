//! What a relay says on the control stream is heard in time by a receiver to whom others send twice what its path takes.
//!
//! A QUIC stack like quinn writes datagrams before streams, and fills packets with them: where a packet has too little room
//! left beside them, nothing else is ever written (see `relay/src/egress.rs`). Whether it has depends on the datagrams' size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod crowd;
/// Clients that speak frame by frame, and their relays: those of the relay's own tests.
#[path = "../../../relay/tests/wire/peer.rs"]
#[allow(dead_code, reason = "this needs less of it than they do")]
mod peer;
#[path = "../../../relay/tests/wire/pool.rs"]
#[allow(dead_code, reason = "this needs less of it than they do")]
mod pool;

use std::time::Duration;

use baton_relay::Relay;
use baton_relay::auth::Mode;
use baton_tests::figures;

use crowd::{Crowd, RTT, Trial};

/// How often a crowd is told to go.
const TRIALS: usize = 20;

/// From GOAWAY to its acknowledgement.
const BOUND: Duration = Duration::from_millis(2 * RTT.as_millis() as u64 + 50);

/// The longest that is waited for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The smallest payload, and how much larger each next one is.
const PAYLOADS: (usize, usize) = (1150, 3);

/// What a receiver's path takes, in bytes per second: what is handed over to QUIC leaves in a fraction of a round trip.
const RATE: u32 = 2_000_000;

/// Receivers at a time: two cores must keep up with all of them, and with what is sent to them.
const CROWD: usize = 2;

/// Where it takes longer than that, and each of two losses costs as much again: what is judged is that it ends. With a wait of
/// a round trip and no more, 39 of 560 were not heard in 5 s.
const SLOW: (u32, usize, Duration) = (500_000, 7, Duration::from_millis(1500));

fn payloads() -> Vec<usize> {
    (PAYLOADS.0..=crowd::MAX_PAYLOAD).step_by(PAYLOADS.1).collect()
}

/// The sizes that leave the least room.
fn largest(count: usize) -> Vec<usize> {
    let all = payloads();
    all[all.len() - count..].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_is_acknowledged_in_time_whatever_the_size_of_the_datagrams_that_flood_its_receiver()
{
    let (mut all, mut late) = (Vec::new(), Vec::new());
    for payloads in payloads().chunks(CROWD) {
        let relay = Relay::start(pool::config("a", Mode::Open, 1000)).unwrap();
        for trial in trials(relay, payloads, RATE, PATIENCE).await {
            late.extend(trial.later_than(BOUND).map(|which| payloads[which]));
            all.extend(trial.acknowledged);
        }
    }
    report("with the guard", &all, BOUND);
    assert!(late.is_empty(), "later than {BOUND:?}: with payloads of {late:?} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_is_not_kept_by_what_takes_longer_than_a_round_trip_to_leave() {
    let (rate, crowd, bound) = SLOW;
    let relay = Relay::start(pool::config("a", Mode::Open, 1000)).unwrap();
    let trials = trials(relay, &largest(crowd), rate, PATIENCE).await;
    let late: usize = trials.iter().map(|trial| trial.later_than(bound).count()).sum();
    report("by slow receivers", &all_of(&trials), bound);
    assert_eq!(late, 0, "later than {bound:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_the_same_flood_starves_goaway() {
    let relay = Relay::start_unguarded(pool::config("a", Mode::Open, 1000)).unwrap();
    let trials = trials(relay, &largest(CROWD), RATE, Duration::from_secs(1)).await;
    let late = trials.iter().filter(|trial| trial.later_than(BOUND).next().is_some()).count();
    report("without the guard", &all_of(&trials), BOUND);
    assert!(late >= TRIALS / 2, "GOAWAY came late in {late} of {TRIALS} trials only");
}

async fn trials(relay: Relay, payloads: &[usize], rate: u32, patience: Duration) -> Vec<Trial> {
    let mut crowd = Crowd::gather(&relay, payloads, rate).await;
    let mut trials = Vec::new();
    for number in 0..TRIALS {
        trials.push(crowd.trial(&relay, number, patience).await);
    }
    crowd.assert_flooded(&relay);
    crowd.leave().await;
    relay.stop().await;
    trials
}

fn all_of(trials: &[Trial]) -> Vec<Option<Duration>> {
    trials.iter().flat_map(|trial| trial.acknowledged.iter().copied()).collect()
}

fn report(what: &str, acknowledged: &[Option<Duration>], bound: Duration) {
    let mut times: Vec<_> = acknowledged.iter().map(|time| time.unwrap_or(Duration::MAX)).collect();
    times.sort_unstable();
    let at = |share: f64| match times[((times.len() - 1) as f64 * share) as usize] {
        Duration::MAX => "never".to_owned(),
        time => format!("{} ms", time.as_millis()),
    };
    let late = times.iter().filter(|time| **time > bound).count();
    figures::record(
        "starvation",
        &format!("GOAWAY acknowledged, {what}"),
        format!(
            "p50 {}, p99 {}, max {}; {late} of {} later than {bound:?}",
            at(0.5),
            at(0.99),
            at(1.0),
            times.len()
        ),
    );
}
