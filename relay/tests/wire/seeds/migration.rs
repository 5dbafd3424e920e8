//! How long the record of a session is kept that may migrate, what removes it, and how failures are counted.

use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::path::probe::probe;
use baton_relay::auth::Mode;
use baton_relay::seeds::Seeds;
use baton_relay::{Config, Relay, StartError, Timers};

use crate::migration::{
    attach, confirm, confirmed, count, ended, ids, probes, report, series, socket,
};
use crate::peer::{Peer, Who};
use crate::pool;

#[tokio::test]
async fn every_class_of_failure_is_counted_by_its_name_once() {
    let relay = pool::one().await;
    let (mut peer, before) = attach(&relay).await;
    for class in FailureClass::ALL {
        let attempt = class.number().into();
        for _ in 0..2 {
            report(&mut peer, attempt, Some(class)).await;
            ids(&mut peer).await;
        }
        assert_eq!(count(&relay, &series("path", Some(class.name()))), 1);
    }
    assert_eq!(ended(&relay), FailureClass::ALL.len() as u64);
    socket().send_to(&probe(&before[0]), relay.address()).unwrap();
    pool::until("it is not answered", || probes(&relay) == [0, 1, 0]).await;
    relay.stop().await;
}

/// A relay with short times: suspect after 400 ms, removed 400 ms later.
fn hasty() -> Config {
    let timers = Timers {
        keep_alive: Duration::from_millis(200),
        give_up: Duration::from_millis(600),
        migration_window: Duration::from_millis(400),
        idle: Duration::from_secs(5),
    };
    Config { timers, ..pool::config("a", Mode::Open, 1000) }
}

fn suspects(relay: &Relay) -> u64 {
    count(relay, "baton_relay_suspect_sessions")
}

#[tokio::test]
async fn a_session_that_falls_silent_is_suspect_and_is_removed_when_its_window_is_over() {
    let relay = Relay::start(hasty()).unwrap();
    relay.set_seeds(Seeds::default());
    relay.ready().await;
    let (peer, welcome) = Peer::attach(&relay, &Who::new(1)).await;
    assert_eq!(welcome.keep_alive, Duration::from_millis(200));
    let since = Instant::now();
    pool::until("it is suspect", || suspects(&relay) == 1).await;
    assert!(since.elapsed() >= Duration::from_millis(400));
    assert_eq!(relay.status().sessions, 1, "its record is kept");
    assert_eq!(peer.closed().await, u64::from(CloseCode::Evicted.code()));
    assert!(since.elapsed() >= Duration::from_millis(800));
    pool::until("it is gone", || relay.status().sessions == 0).await;
    assert_eq!((suspects(&relay), count(&relay, "baton_relay_evictions_total")), (0, 1));
    relay.stop().await;
}

#[tokio::test]
async fn a_session_that_migrates_within_its_window_stays() {
    let config = hasty();
    // However busy this machine is.
    let (migration_window, idle) = (Duration::from_secs(20), Duration::from_secs(30));
    let timers = Timers { migration_window, idle, ..config.timers };
    let relay = Relay::start(Config { timers, ..config }).unwrap();
    relay.set_seeds(Seeds::default());
    relay.ready().await;
    let (mut peer, _) = attach(&relay).await;
    for attempt in 1..=3 {
        pool::until("it is suspect", || suspects(&relay) == 1).await;
        // It comes back by another path.
        peer.endpoint.rebind(socket()).unwrap();
        confirm(&peer, attempt, [0; 8]);
        confirmed(&peer, attempt).await;
        report(&mut peer, attempt, None).await;
        ids(&mut peer).await;
        pool::until("it is trusted", || suspects(&relay) == 0).await;
    }
    assert_eq!(count(&relay, "baton_relay_evictions_total"), 0);
    assert_eq!(count(&relay, &series("path", None)), 3);
    relay.stop().await;
}

#[tokio::test]
async fn times_in_a_wrong_order_are_refused_with_all_that_is_wrong() {
    let config = hasty();
    let timers =
        Timers { give_up: Duration::from_millis(300), idle: Duration::ZERO, ..config.timers };
    let Err(error) = Relay::start(Config { timers, ..config }) else { panic!("it starts") };
    assert!(matches!(error, StartError::Timers(ref wrong) if wrong.len() == 2));
    assert_eq!(
        error.to_string(),
        "the times cannot be used: two keep-alive intervals (0.4 s) must be shorter than the time until a connection is given up \
         (0.3 s); two keep-alive intervals and the migration window (0.8 s) must be shorter than the idle timeout (0 s)"
    );
}
