//! Images that cannot serve.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use baton_crds::RelayPool;
use baton_tests::images::{self, BuiltImage};
use baton_tests::traffic::{Offered, pairs_apart, talk};
use baton_tests::{cluster, shell};
use kube::ResourceExt as _;
use serde_json::json;

use crate::stage::{PATIENCE, Stage};

/// What is left of the streams before and after.
const MARGIN: Duration = Duration::from_secs(1);

/// For so long after it is known that an image fails, nothing may be done to the old pods.
const WATCHED: Duration = Duration::from_secs(10);

const RELAYS: u32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fails_costs_no_old_pod_says_why_and_is_taken_back_without_loss() {
    cluster::test_alone("pool-failing", async |namespace| {
        let ending = images::ending_relay().await;
        cluster::load_image(ending).await;
        let missing = BuiltImage {
            name: "registry.local/baton/baton-relay:missing".into(),
            archive: PathBuf::new(),
        };
        let stage = Stage::set(namespace, RELAYS, json!({})).await;
        let old = names(&stage).await;
        let pairs = pairs_apart(3, || stage.two()).await;
        let witness = stage.pool.watch_floor();
        witness.started().await;

        let (talked, ()) = talk(pairs, Offered::default(), MARGIN, async {
            let said = [missing.name.as_str(), "cannot be pulled"];
            fails_and_is_taken_back(&stage, &missing, &said).await;
            let said = ["Crashing", "invalid value 'nowhere' for '--admin-listen"];
            fails_and_is_taken_back(&stage, ending, &said).await;
        })
        .await;

        let seen = witness.stop();
        talked.outcome.assert_whole();
        assert_eq!(talked.handovers, 0, "nobody had to move");
        assert_eq!(names(&stage).await, old, "the same pods, and none of the failed ones");
        assert_eq!(seen.flagged, BTreeSet::new(), "none was drained");
        let old_names: BTreeSet<String> = old.into_iter().map(|(name, _)| name).collect();
        assert!(seen.deleted.is_disjoint(&old_names), "{seen:?}");
        assert_eq!(seen.deleted.len(), 2, "a pod of each bad image came and went: {seen:?}");
        assert_eq!(seen.fewest_serving, RELAYS as usize);
        let blocks = talked.outcome.blocks_received;
        namespace.figure("blocks of 1000 bytes that arrived in order under bad images", blocks);
    })
    .await;
}

/// Names and UIDs of the pods.
async fn names(stage: &Stage) -> BTreeSet<(String, Option<String>)> {
    let pods = stage.pool.pods().await;
    pods.into_iter().map(|pod| (pod.name_any(), pod.uid())).collect()
}

/// Sets the image, finds the words in the condition and in an Event, waits, and sets the old image back.
async fn fails_and_is_taken_back(stage: &Stage, image: &BuiltImage, said: &[&str]) {
    let says = |text: &str| said.iter().all(|words| text.contains(words));
    stage.pool.set_image(image).await;
    stage
        .pool
        .wait(&format!("says {said:?}"), PATIENCE, |pool| {
            degraded(pool)
                .is_some_and(|(reason, message)| reason == "PodsFailing" && says(&message))
        })
        .await;
    let events = "events --for rp/edge --types=Warning";
    stage.kubectl_until(events, &format!("{said:?}"), says).await;
    // The thing itself: what fails goes on to fail, and the operator does nothing about the old pods.
    tokio::time::sleep(WATCHED).await;
    let pool = stage.pool.get().await.unwrap();
    assert!(degraded(&pool).is_some_and(|(_, message)| says(&message)), "{:?}", pool.status);
    let ready = "wait --for=condition=Ready --timeout=1s rp/edge";
    stage.kubectl(ready).await;

    let generation = stage.pool.set_image(&images::relays().await[0]).await;
    let pool = stage.pool.rolled_out(generation, PATIENCE).await;
    assert_eq!(degraded(&pool), None);
}

/// Reason and message of the condition Degraded, if it is true.
fn degraded(pool: &RelayPool) -> Option<(String, String)> {
    let conditions = &pool.status.as_ref()?.conditions;
    let found = conditions.iter().find(|c| c.type_ == "Degraded" && c.status == "True")?;
    Some((found.reason.clone(), found.message.clone()))
}

#[tokio::test]
async fn a_step_that_only_this_cluster_refuses_is_told_by_an_event() {
    cluster::test("pool-step-refused", async |namespace| {
        let [image, _] = images::relays().await;
        let odd = json!({"service": {"type": "NodePort", "nodePort": 80}});
        baton_tests::pool::Pool::create(namespace, image, 1, odd).await;
        let events = format!(
            "kubectl --namespace {} events --for rp/edge --types=Warning",
            namespace.name()
        );
        let refused =
            |printed: &str| printed.contains("StepRefused") && printed.contains("nodePort");
        shell::until_prints(&events, "what was refused", PATIENCE, refused).await;
    })
    .await;
}
