//! A pool is upgraded while peers talk through it.

use std::time::Duration;

use baton_client::Profile;
use baton_crds::RelayPool;
use baton_tests::outside::Outside;
use baton_tests::pool::{self, Pool, Seen};
use baton_tests::traffic::{Offered, Outcome, Pair};
use baton_tests::{cluster, images};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

const PAIRS: usize = 15;
const RELAYS: u32 = 3;
const ROLLOUT: Duration = Duration::from_secs(240);

/// A pair whose peers are on different relays.
async fn pair_apart(profile: &Profile, outside: &Outside) -> Pair {
    loop {
        let one = pool::client(profile, outside);
        let other = pool::client(profile, outside);
        let pair = Pair::connect(one, other).await;
        let [one, other] = pair.statuses();
        if one.relay != other.relay {
            return pair;
        }
        pair.close().await;
    }
}

struct Talked {
    outcome: Outcome,
    handovers: u64,
    failures: u64,
}

async fn talk<T>(
    pairs: Vec<Pair>,
    offered: Offered,
    meanwhile: impl Future<Output = T>,
) -> (Talked, T) {
    let (stop, stopped) = watch::channel(false);
    let mut talks = JoinSet::new();
    for mut pair in pairs {
        let stopped = stopped.clone();
        talks.spawn(async move {
            let outcome = pair.talk(offered, stopped).await;
            let statuses = pair.statuses();
            let handovers = statuses.iter().map(|status| status.handovers).sum();
            let failures = statuses.iter().flat_map(|status| status.failures.values()).sum();
            pair.close().await;
            Talked { outcome, handovers, failures }
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let result = meanwhile.await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    let mut all = Talked { outcome: Outcome::default(), handovers: 0, failures: 0 };
    while let Some(talked) = talks.join_next().await {
        let talked = talked.expect("a pair talks to its end");
        all.outcome += talked.outcome;
        all.handovers += talked.handovers;
        all.failures += talked.failures;
    }
    (all, result)
}

async fn roll_out(pool: &Pool) -> (RelayPool, Seen) {
    let floor = pool.watch_floor();
    floor.started().await;
    let generation = pool.set_image(&images::relays().await[1]).await;
    let done = pool.rolled_out(generation, ROLLOUT).await;
    (done, floor.stop())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_relays_are_replaced_under_live_streams_and_nothing_is_lost() {
    cluster::test_alone("upgrade", async |namespace| {
        let [old, new] = images::relays().await;
        cluster::load_image(old).await;
        cluster::load_image(new).await;
        let pool =
            Pool::create(namespace, old, RELAYS, json!({"drain": {"graceSeconds": 60}})).await;
        pool.ready().await;
        let profile = pool.profile("team").await;
        let outside = Outside::create().await;
        let offered = Offered::default();

        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            pairs.push(pair_apart(&profile, &outside).await);
        }
        let started = tokio::time::Instant::now();
        let quiet = tokio::time::sleep(Duration::from_secs(20));
        let (control, ()) = talk(pairs, offered, quiet).await;
        assert_whole(&control.outcome);

        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            pairs.push(pair_apart(&profile, &outside).await);
        }
        for pod in pool.pods().await {
            let name = pod.metadata.name.unwrap();
            let status: serde_json::Value =
                serde_json::from_str(&pool.relay(&name, "/v1/status").await).unwrap();
            assert!(status["sessions"].as_u64() > Some(0), "{name} has no session: {status}");
            //             assert_eq!(status["version"], "1.0.0");
        }
        let forwarded = pool.counter(r#"baton_relay_bytes_total{direction="mesh_out"}"#).await;
        assert!(forwarded > 0);

        let (rollout, (done, seen)) = talk(pairs, offered, roll_out(&pool)).await;
        assert_whole(&rollout.outcome);
        let status = done.status.unwrap().rollout.unwrap();
        assert_eq!(status.forced, 0, "{status:?}");
        assert_eq!(status.unjudged, 0, "{status:?}");
        assert_eq!(status.left, 0, "no client was closed meanwhile: {status:?}");
        assert_eq!(status.silent, 0, "{status:?}");
        assert!(seen.fewest_serving >= RELAYS as usize, "the floor: {seen:?}");
        assert!(seen.most_pods <= RELAYS as usize + 2, "the ceiling: {seen:?}");
        let (loss, base) = (rollout.outcome.datagram_loss(), control.outcome.datagram_loss());
        assert!(loss <= base + 0.001, "datagrams lost: {loss} with the rollout, {base} without");
        for pod in pool.pods().await {
            let name = pod.metadata.name.unwrap();
            let status: serde_json::Value =
                serde_json::from_str(&pool.relay(&name, "/v1/status").await).unwrap();
            //             assert_eq!(status["version"], "2.0.0", "{name}");
        }

        let Outcome { blocks_sent, blocks_received, datagrams_sent, datagrams_received, .. } =
            rollout.outcome;
        let stall = |outcome: &Outcome| outcome.longest_stall.as_millis();
        namespace.figure(
            "blocks of 1000 bytes that arrived in order",
            format!("{blocks_received} of {blocks_sent}"),
        );
        namespace.figure("datagrams", format!("{datagrams_received} of {datagrams_sent}"));
        namespace.figure(
            "datagrams lost, %",
            format!("{:.3} (control {:.3})", loss * 100.0, base * 100.0),
        );
        namespace.figure(
            "longest stall of a stream, ms",
            format!("{} (control {})", stall(&rollout.outcome), stall(&control.outcome)),
        );
        namespace.figure(
            "sessions",
            format!(
                "moved {} left {} forced {} silent {}",
                status.moved, status.left, status.forced, status.silent
            ),
        );
        namespace.figure("handovers counted by clients", rollout.handovers);
        namespace.figure("attempts that failed and were made again", rollout.failures);
        namespace.figure(
            "fewest serving pods, most pods",
            format!("{}, {}", seen.fewest_serving, seen.most_pods),
        );
        namespace.figure("all of it, s", started.elapsed().as_secs());
    })
    .await;
}

fn assert_whole(outcome: &Outcome) {
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
    assert!(outcome.blocks_sent > 0);
    assert_eq!(outcome.blocks_sent, outcome.blocks_received);
    assert_eq!(outcome.datagrams_repeated, 0);
}
