//! A pod annotation's way into the pod: how the operator tells a relay to drain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_tests::cluster::{self, TestNamespace, load_image, ready_pods, wait_for};
use baton_tests::figures::Spread;
use baton_tests::images;
use baton_tests::testpod::{self, TestPod};
use futures::AsyncBufReadExt as _;
use futures::StreamExt as _;
use futures::io::Lines;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, Patch, PatchParams};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

const ANNOTATION: &str = "baton.dev/test";

/// Patches of the latency measurement.
const PATCHES: u64 = 20;

/// A second patch within a second of the kubelet's last look waits for the next: the measurement
/// leaves it out.
const PAUSE: Duration = Duration::from_millis(1500);

/// A late file is a figure, a very late one a failure.
const FILE_DEADLINE: Duration = Duration::from_secs(30);

/// What the pod printed of one change.
#[derive(Debug, Deserialize)]
struct Change {
    at_us: u64,
    content: Option<String>,
}

struct Watched {
    changes: BoxStream<'static, Change>,
    pods: Api<Pod>,
}

impl Watched {
    async fn create(namespace: &TestNamespace, pod: &TestPod) -> Self {
        pod.create(namespace).await;
        ready_pods(namespace, 1).await;
        let pods = namespace.api::<Pod>();
        let follow = LogParams { follow: true, ..LogParams::default() };
        let log = pods.log_stream("watcher", &follow).await.expect("the pod's log");
        let lines: Lines<_> = log.lines();
        let changes = lines
            .map(|line| serde_json::from_str(&line.expect("the log goes on")).expect("a change"));
        Self { changes: changes.boxed(), pods }
    }

    async fn next(&mut self) -> Change {
        let next = timeout(FILE_DEADLINE, self.changes.next()).await;
        next.expect("the file changes in time").expect("the log goes on")
    }

    /// Deletes the pod and waits until it is ending; returns the time at which the API server had noted
    /// the deletion.
    async fn delete(&self, namespace: &TestNamespace) -> u64 {
        testpod::delete(namespace, "watcher").await;
        let deleted = now_us();
        let ending = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        wait_for(&self.pods, "watcher", "is ending", FILE_DEADLINE, ending).await;
        deleted
    }

    /// Every further change until the pod is gone.
    async fn rest(self) -> Vec<Change> {
        let all = self.changes.collect();
        timeout(cluster::DEADLINE, all).await.expect("the pod ends, and its log with it")
    }

    /// Sets the annotation (`None`: removes it) and returns the time before that.
    async fn annotate(&self, value: Option<&str>) -> u64 {
        let before = now_us();
        let patch = json!({"metadata": {"annotations": {ANNOTATION: value}}});
        let patched =
            self.pods.patch("watcher", &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the annotation is set");
        before
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("a time within 500,000 years")
}

async fn watcher_pod() -> TestPod {
    let image = images::testpod().await;
    load_image(image).await;
    TestPod::new("watcher", &image.name).watches(ANNOTATION)
}

#[tokio::test]
async fn an_annotation_is_a_file_in_the_pod_within_a_fraction_of_a_second() {
    cluster::test("annotation", async |namespace| {
        let mut watched = Watched::create(namespace, &watcher_pod().await).await;
        let first = watched.next().await;
        assert_eq!(first.content.as_deref(), Some(""), "an absent annotation is an empty file");

        let mut latencies = Vec::new();
        for number in 0..PATCHES {
            sleep(PAUSE).await;
            let value = format!("value {number}");
            let before = watched.annotate(Some(&value)).await;
            let change = watched.next().await;
            assert_eq!(change.content, Some(value));
            latencies.push(change.at_us.saturating_sub(before) as f64 / 1e3);
        }
        namespace.figure("from patch to file, ms", Spread::of(latencies));

        sleep(PAUSE).await;
        watched.annotate(None).await;
        let change = watched.next().await;
        assert_eq!(change.content.as_deref(), Some(""), "a removed annotation is an empty file");
        namespace.figure("an absent or removed annotation", "an empty file");
    })
    .await;
}

const GRACE_SECONDS: u32 = 10;

#[tokio::test]
async fn a_deleted_pod_sees_no_later_change_of_its_annotations() {
    cluster::test("annotation_after_deletion", async |namespace| {
        let mut watched =
            Watched::create(namespace, &watcher_pod().await.lingers(GRACE_SECONDS)).await;
        watched.next().await;
        watched.annotate(Some("before")).await;
        assert_eq!(watched.next().await.content.as_deref(), Some("before"));
        // An update that is still under way would carry whatever the annotation is when it arrives.
        sleep(PAUSE).await;

        let deleted = watched.delete(namespace).await;
        watched.annotate(Some("after")).await;
        let seen = watched.rest().await;
        assert!(seen.is_empty(), "an ending pod saw {seen:?}");
        let lived = now_us().saturating_sub(deleted) / 1_000_000;
        assert!(lived > 5, "the pod ended after {lived} s: too soon to tell");
        namespace.figure("changes seen of one made after the deletion", format!("0 in {lived} s"));
    })
    .await;
}

#[tokio::test]
async fn a_change_under_way_at_the_deletion_may_still_arrive_but_soon() {
    cluster::test("annotation_before_deletion", async |namespace| {
        let mut watched =
            Watched::create(namespace, &watcher_pod().await.lingers(GRACE_SECONDS)).await;
        watched.next().await;
        sleep(PAUSE).await;
        watched.annotate(Some("at once")).await;
        let deleted = watched.delete(namespace).await;
        // Either is allowed, and both were seen; but nothing comes late.
        let seen = watched.rest().await;
        let latest = seen.iter().map(|change| change.at_us.saturating_sub(deleted)).max();
        let figure = match latest {
            Some(us) => format!("it arrived {} ms after the deletion", us / 1000),
            None => "it did not arrive".to_owned(),
        };
        assert!(latest.unwrap_or_default() < 2_000_000, "late: {figure}");
        namespace.figure("a change made at once before the deletion", figure);
    })
    .await;
}
