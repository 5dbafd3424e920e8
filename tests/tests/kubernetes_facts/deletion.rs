//! Deletion with a long grace is the one thing that stops new flows and keeps old ones.

use std::time::Duration;

use baton_tests::cluster;
use baton_tests::figures::Spread;
use baton_tests::flows::Probe;
use baton_tests::testpod;
use tokio::time::{Instant, sleep};

use crate::scene::{GRACE_SECONDS, Scene};

/// How long before the end of the grace we stop looking: the kubelet counts from when it noticed.
const MARGIN: Duration = Duration::from_secs(2);

/// By when a deleted pod must have stopped getting new flows.
const NEW_FLOWS_DEADLINE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_deleted_pod_that_stays_ready_keeps_its_flows_for_its_whole_grace() {
    cluster::test("deletion", async |namespace| {
        let scene = Scene::set(namespace).await;
        let (victim, flows) = scene.busiest();

        let asked = Instant::now();
        testpod::delete(namespace, &victim).await;
        let deleted = Instant::now();
        namespace.figure("delete answered after, ms", (deleted - asked).as_millis());

        // New flows, one after another, for as long as the pod ends. They stay open, so that each has
        // a port of its own.
        let mut new_flows = Vec::new();
        let mut last_landing = None;
        let grace = Duration::from_secs(GRACE_SECONDS.into());
        while deleted.elapsed() < grace - MARGIN {
            let mut flow = Probe::new(&scene.outside, scene.target).await;
            let landed = flow.ask().await.pod;
            new_flows.push(flow);
            if landed == victim {
                last_landing = Some(deleted.elapsed());
            }
            sleep(Duration::from_millis(25)).await;
        }
        scene.flows.settle(&scene.all()).await;
        assert_eq!(scene.flows.at(&victim), flows, "flows of the ending pod");
        assert_eq!(scene.moves(&scene.all()), 0, "the deletion moved flows");
        let last = match last_landing {
            Some(after) => {
                assert!(
                    after < NEW_FLOWS_DEADLINE,
                    "a new flow landed {after:?} after the deletion"
                );
                format!("{} ms after the deletion", after.as_millis())
            }
            None => "none".to_owned(),
        };
        namespace.figure(
            "flows kept over the grace",
            format!("{} of {} for {GRACE_SECONDS} s", flows.len(), flows.len()),
        );
        namespace.figure("new flows while it ended", new_flows.len());
        namespace.figure("last new flow to it", last);

        // At the end of the grace the process ends, and only then its flows move.
        let moved = || scene.flows.at(&victim).is_empty();
        scene.flows.until("the flows move after the pod's end", cluster::DEADLINE, moved).await;
        let histories = scene.flows.histories();
        let gaps = flows.iter().map(|&flow| histories[flow].moves()[0].gap.as_secs_f64() * 1e3);
        namespace.figure("gap when its process ended, ms", Spread::of(gaps));
        assert_eq!(scene.moves(&scene.all()), flows.len(), "each of its flows moved once");
    })
    .await;
}
