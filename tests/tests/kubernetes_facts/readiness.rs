//! Readiness must never signal a drain: it cuts.

use std::time::Duration;

use baton_tests::cluster;
use baton_tests::figures::Spread;
use baton_tests::testpod;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::scene::Scene;

/// A probe a second, its failure on the way, and the proxies: seconds at most.
const MOVE_DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn flows_to_a_pod_whose_readiness_fails_move_and_do_not_come_back() {
    cluster::test("readiness", async |namespace| {
        let scene = Scene::set(namespace).await;
        let (victim, flows) = scene.busiest();

        let ordered = Instant::now();
        testpod::set_ready(namespace, &victim, false).await;
        let moved = || scene.flows.at(&victim).is_empty();
        scene.flows.until("the flows of an unready pod move", MOVE_DEADLINE, moved).await;
        let histories = scene.flows.histories();
        let moves = || flows.iter().map(|&flow| &histories[flow].moves()[0]);
        namespace.figure("flows moved", format!("{} of {}", flows.len(), flows.len()));
        let after = moves().map(|m| (m.at - ordered).as_secs_f64() * 1e3);
        namespace.figure("moved after the pod turned unready, ms", Spread::of(after));
        let gaps = moves().map(|m| m.gap.as_secs_f64() * 1e3);
        namespace.figure("gap, ms", Spread::of(gaps));

        testpod::set_ready(namespace, &victim, true).await;
        let pods = namespace.api::<Pod>();
        cluster::wait_for(&pods, &victim, "is ready again", MOVE_DEADLINE, cluster::is_ready).await;
        scene.flows.settle(&scene.all()).await;
        assert_eq!(scene.flows.at(&victim), [0_usize; 0], "flows that came back");
        assert_eq!(scene.moves(&scene.all()), flows.len(), "each moved once, others never");
    })
    .await;
}
