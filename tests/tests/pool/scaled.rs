//! A pool is looked at, and scaled under live streams.

use std::time::Duration;

use baton_crds::{DrainState, RelayPool};
use baton_tests::cluster;
use baton_tests::pool::Seen;
use baton_tests::shell;
use baton_tests::traffic::{Offered, pairs_apart, talk};
use serde_json::json;

use crate::stage::{PATIENCE, Stage};

/// What is left of the streams before and after a change.
const MARGIN: Duration = Duration::from_secs(1);

const PAIRS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_shows_what_it_is_and_scaling_it_cuts_no_stream() {
    cluster::test_alone("pool-scaled", async |namespace| {
        let stage = Stage::set(namespace, 3, json!({})).await;
        looks_as_it_is(&stage).await;

        let first = pairs_apart(PAIRS, || stage.two()).await;
        let (first, (up, more, (down, done))) = talk(first, Offered::default(), MARGIN, async {
            let (up, _) = scale(&stage, 5).await;
            // On five relays now: otherwise those that go would be empty.
            let more = pairs_apart(PAIRS, || stage.two()).await;
            let (more, down) = talk(more, Offered::default(), MARGIN, scale(&stage, 2)).await;
            (up, more, down)
        })
        .await;
        first.outcome.assert_whole();
        more.outcome.assert_whole();

        assert!(up.fewest_serving >= 3 && up.flagged.is_empty() && up.deleted.is_empty(), "{up:?}");
        assert!(down.fewest_serving >= 2 && down.most_pods <= 5, "{down:?}");
        assert_eq!(down.deleted.len(), 3, "{down:?}");
        assert_eq!(down.flagged, down.deleted, "what went was drained, and only that");
        let drains = done.status.unwrap().drains;
        assert_eq!(drains.len(), 3, "{drains:?}");
        for drain in &drains {
            assert_eq!((drain.reason.as_str(), drain.state), ("scale-down", DrainState::Counted));
            assert!(drain.acknowledged, "{drain:?}");
            assert_eq!((drain.left, drain.forced, drain.silent), (0, 0, 0), "{drain:?}");
        }
        let moved: i64 = drains.iter().map(|drain| drain.moved).sum();
        assert!(moved > 0, "{drains:?}");
        assert_eq!(moved as u64, first.handovers + more.handovers, "the clients count the same");
        let blocks = first.outcome.blocks_received + more.outcome.blocks_received;
        namespace.figure("blocks of 1000 bytes that arrived in order while it was scaled", blocks);
        namespace.figure("sessions that moved when 5 relays became 2", moved);
        let stall = first.outcome.longest_stall.max(more.outcome.longest_stall).as_millis();
        namespace.figure("longest stall of a stream, ms", stall);
    })
    .await;
}

/// What `kubectl get` prints of a pool that nobody uses yet.
async fn looks_as_it_is(stage: &Stage) {
    let asked = |pool: &RelayPool| pool.status.as_ref().is_some_and(|s| s.sessions.is_some());
    let pool = stage.pool.wait("its sessions are known", PATIENCE, asked).await;
    let address = &pool.status.unwrap().addresses[0].value;
    let wanted = ["edge", "3", "3", "3", "0", "0", "True", address, "Complete"];
    let printed = stage
        .kubectl_until("get rp edge", "a complete pool", |printed| printed.contains("Complete"))
        .await;
    let rows: Vec<Vec<&str>> = printed.lines().map(|l| l.split_whitespace().collect()).collect();
    let [header, row] = rows.as_slice() else { panic!("a header and a row: {printed}") };
    let names = "NAME DESIRED SERVING UPDATED DRAINING SESSIONS READY ADDRESS STATUS AGE";
    assert_eq!(header.join(" "), names);
    assert_eq!(row[..9], wanted, "{printed}");
}

/// Scales it, and says what was done to the pods meanwhile.
async fn scale(stage: &Stage, replicas: i32) -> (Seen, RelayPool) {
    let witness = stage.pool.watch_floor();
    witness.started().await;
    stage.kubectl(&format!("scale rp/edge --replicas={replicas}")).await;
    let pool = stage
        .pool
        .wait("it is scaled", PATIENCE, |pool| {
            let Some(status) = &pool.status else { return false };
            status.observed_generation == pool.metadata.generation
                && status.replicas == replicas
                && status.counts.available == replicas
                && status.counts.pods == replicas
        })
        .await;
    (witness.stop(), pool)
}

#[tokio::test]
async fn explain_says_what_each_field_of_a_drain_means_in_which_unit() {
    cluster::test("pool-explained", async |_| {
        baton_tests::pool::install_operator().await;
        let printed = shell::run("kubectl explain rp.spec.drain").await;
        let text = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for (field, said) in [
            ("graceSeconds <integer>", "How many seconds sessions may take to move"),
            ("lingerSeconds <integer>", "How many seconds at most"),
            ("maxSessionsPerSecond <integer>", "How many sessions per second"),
            ("onDelete <string>", "when the pool is deleted"),
        ] {
            let after = text.split_once(field).unwrap_or_else(|| panic!("{field}: {printed}")).1;
            let description = after.split(" <").next().unwrap_or_default();
            assert!(description.contains(said), "{field}: {description}");
        }
    })
    .await;
}
