//! A client's NAT forgets its mapping, and the relay sees the client at another address.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_client::Status;
use baton_tests::cluster::{self, TestNamespace};
use baton_tests::figures::Spread;
use baton_tests::images;
use baton_tests::outside::Outside;
use baton_tests::pool::{self, Pool};
use baton_tests::traffic::{Offered, Pair};
use baton_tests::udp_proxy::{Both, Conditions, Path, UdpProxy};
use kube::ResourceExt as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const REBINDINGS: u64 = 20;

/// How long an attempt may take to be counted: one that is not confirmed in 30 s has failed.
const COUNTED: Duration = Duration::from_secs(45);

/// They talk on for so long after the last count, in which nothing may be counted twice.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// The relay's count of clients that came from an address that they had not announced.
const SUCCESSES: &str = r#"baton_relay_migrations_total{class="none",kind="rebind",result="ok"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rebindings_of_a_clients_nat_are_twenty_successes_on_one_connection() {
    cluster::test_on_ours("rebind", "it makes a router forget", async |namespace| {
        let pool = one_relay(namespace).await;
        let profile = pool.profile("team").await;
        let mut home = Outside::create().await;
        let elsewhere = Outside::create().await;
        let [client, other] = [&home, &elsewhere].map(|outside| pool::client(&profile, outside));
        let mut pair = Pair::connect(client, other).await;
        let (statuses, counted) = (pair.statuses(), counts(&pool).await);
        assert_eq!((counted.successes, counted.failures), (0, 0));

        let mut took = Vec::new();
        let (stop, stopped) = watch::channel(false);
        let rebindings = async {
            for number in 1..=REBINDINGS {
                let began = Instant::now();
                home.rebind().await;
                until_counted(&pool, |now| now.successes == number).await;
                took.push(began.elapsed().as_secs_f64() * 1e3);
            }
            sleep(AFTERWARDS).await;
            stop.send_replace(true);
        };
        let (outcome, ()) = tokio::join!(pair.talk(Offered::default(), stopped), rebindings);
        outcome.assert_whole();
        let now = counts(&pool).await;
        assert_eq!(now, Counts { successes: REBINDINGS, ..counted });
        for (before, after) in statuses.iter().zip(pair.statuses()) {
            assert_same_session(before, &after);
        }

        let of = format!("{} of {REBINDINGS}, {} failed", now.successes, now.failures);
        namespace.figure("rebindings that succeeded", of);
        namespace.figure("handshakes meanwhile", now.handshakes - counted.handshakes);
        namespace.figure("from the rebinding to its count, ms", Spread::of(took));
        namespace.figure("longest stall of a stream, ms", outcome.longest_stall.as_millis());
        let blocks = format!("{} of {}", outcome.blocks_received, outcome.blocks_sent);
        namespace.figure("blocks of 1000 bytes that arrived in order", blocks);
        let datagrams = format!("{} of {}", outcome.datagrams_received, outcome.datagrams_sent);
        namespace.figure("datagrams that arrived", datagrams);
        pair.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebinding_to_a_path_without_a_way_back_is_one_failure_and_no_success() {
    cluster::test("rebind_dead", async |namespace| {
        let pool = one_relay(namespace).await;
        let profile = pool.profile("team").await;
        let outside = Arc::new(Outside::create().await);
        let good = Both::same(Conditions::default());
        let nat = UdpProxy::start(outside.clone(), pool::address(&profile), good, 1).await.unwrap();
        let mut behind_nat = profile.clone();
        behind_nat.addresses = vec![nat.address().to_string()];
        let [client, other] =
            [&behind_nat, &profile].map(|profile| pool::client(profile, &outside));
        let mut pair = Pair::connect(client, other).await;
        let before = pair.statuses();

        let (stop, stopped) = watch::channel(false);
        let rebindings = async {
            nat.rebind(Path::Whole);
            until_counted(&pool, |now| now.successes == 1).await;
            nat.rebind(Path::NoWayBack);
            until_counted(&pool, |now| now.failures == 1).await;
            sleep(AFTERWARDS).await;
            stop.send_replace(true);
        };
        let (outcome, ()) = tokio::join!(pair.talk(Offered::default(), stopped), rebindings);
        outcome.assert_whole();
        let now = counts(&pool).await;
        assert_eq!((now.successes, now.failures), (1, 1), "{now:?}");
        let [client, other] = pair.statuses();
        assert_eq!(client.resumes, 1, "the client came back by a new path: {client:?}");
        assert_same_session(&before[1], &other);
        let class = failed_class(&pool).await;
        namespace.figure("a path without a way back is counted as", class);
        namespace.figure("longest stall of a stream, ms", outcome.longest_stall.as_millis());
        pair.close().await;
    })
    .await;
}

async fn one_relay(namespace: &TestNamespace) -> Pool {
    let [image, _] = images::relays().await;
    cluster::load_image(image).await;
    let pool = Pool::create(namespace, image, 1, json!({})).await;
    pool.ready().await;
    pool
}

/// What the relay has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    successes: u64,
    failures: u64,
    handshakes: u64,
}

async fn counts(pool: &Pool) -> Counts {
    Counts {
        successes: pool.counter(SUCCESSES).await,
        failures: failures(pool).await.iter().map(|(_, count)| count).sum(),
        handshakes: pool.counter(r#"baton_relay_handshakes_total{result="ok"}"#).await,
    }
}

/// Failed migrations of any kind, by class.
async fn failures(pool: &Pool) -> Vec<(String, u64)> {
    let pods = pool.pods().await;
    let [pod] = &pods[..] else { panic!("one relay: {pods:?}") };
    let status = pool.relay_status(&pod.name_any()).await;
    let failed = status["migrations"]["failed"].as_object().expect("classes").iter();
    failed.map(|(class, count)| (class.clone(), count.as_u64().expect("a count"))).collect()
}

async fn failed_class(pool: &Pool) -> String {
    let failures = failures(pool).await;
    failures.into_iter().find(|(_, count)| *count > 0).expect("a failure").0
}

async fn until_counted(pool: &Pool, holds: impl Fn(Counts) -> bool) {
    let wait = async {
        while !holds(counts(pool).await) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(COUNTED, wait).await.is_err() {
        panic!("not counted within {COUNTED:?}: {:?}", counts(pool).await);
    }
}

fn assert_same_session(before: &Status, after: &Status) {
    assert_eq!((before.relay, before.stamp), (after.relay, after.stamp));
    assert_eq!((after.handovers, after.resumes), (0, 0), "{after:?}");
    assert!(after.failures.is_empty(), "{after:?}");
}
