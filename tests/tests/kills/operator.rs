//! The operator is killed in the middle of a rollout, which ends as if nothing had happened.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_crds::{DrainState, RelayPool};
use baton_tests::cluster::{self, ContainerProcess, Killed, TestNamespace, is_ready};
use baton_tests::images::{self, BuiltImage};
use baton_tests::outside::Outside;
use baton_tests::pool::{self, OPERATOR, Pool, Seen};
use baton_tests::traffic::{Offered, Talked, pairs_apart, talk};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const RELAYS: usize = 3;
const PAIRS: usize = 6;

/// How long a client that acknowledges GOAWAY holds its move back: a drain takes at least this.
const HOLD: Duration = Duration::from_secs(8);

const MARGIN: Duration = Duration::from_secs(2);

/// How long a rollout may take to come to the moment of the kill.
const MOMENT: Duration = Duration::from_secs(60);

const ROLLOUT: Duration = Duration::from_secs(240);

const DRAIN: &str = "baton.dev/drain";

const WHY: &str = "it kills the operator's process on its node";

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_ends_the_same_when_the_operator_is_killed_before_a_new_pod_is_ready() {
    rollout_with_a_kill("kills_before_ready", async |rollout, operator| {
        let new = rollout.pod("there is a new pod", |pod| image(pod) == rollout.new.name).await;
        let killed = operator.kill().await;
        let new = rollout.now(&new).await;
        assert!(!is_ready(&new), "the kill came too late: {:?}", new.status);
        killed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_ends_the_same_when_the_operator_is_killed_in_the_middle_of_a_drain() {
    rollout_with_a_kill("kills_in_drain", async |rollout, operator| {
        let old = rollout.pod_that_drains().await;
        let killed = operator.kill().await;
        let status = rollout.pool.relay_status(&old.name_any()).await;
        assert_eq!(status["state"], "draining", "the kill came too late: {status}");
        assert!(count(&status, "remaining") > 0, "the kill came too late: {status}");
        killed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_ends_the_same_when_the_operator_is_killed_between_drained_and_deletion() {
    rollout_with_a_kill("kills_when_drained", async |rollout, mut operator| {
        let old = rollout.pod_that_drains().await;
        // It would delete a drained pod within a second: it is held until there is one.
        operator.freeze();
        rollout.relay(&old, "is drained", |status| status["state"] == "drained").await;
        let killed = operator.kill().await;
        assert_eq!(rollout.now(&old).await.metadata.deletion_timestamp, None);
        let stored = rollout.pool.get().await.unwrap().status.unwrap().drains;
        let entry = stored.iter().find(|drain| Some(&drain.uid) == old.uid().as_ref());
        assert_eq!(entry.unwrap().state, DrainState::Draining, "it was counted before the kill");
        killed
    })
    .await;
}

/// A rollout under way.
struct Rollout<'a> {
    pool: &'a Pool,
    new: &'a BuiltImage,
}

impl Rollout<'_> {
    /// Waits for a pod.
    async fn pod(&self, what: &str, is_wanted: impl Fn(&Pod) -> bool) -> Pod {
        let wait = async {
            loop {
                if let Some(pod) = self.pool.pods().await.into_iter().find(&is_wanted) {
                    return pod;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let found = timeout(MOMENT, wait).await;
        found.unwrap_or_else(|_| panic!("not seen within {MOMENT:?}: {what}"))
    }

    /// Waits for a pod with the flag, whose sessions have all acknowledged it and are still there.
    async fn pod_that_drains(&self) -> Pod {
        let has_flag = |pod: &Pod| pod.annotations().contains_key(DRAIN);
        let pod = self.pod("an old pod drains", has_flag).await;
        self.relay(&pod, "has sessions that hold their move", |status| {
            let all = count(status, "atFlag") + count(status, "stragglers");
            all > 0 && count(status, "acked") == all && count(status, "remaining") == all
        })
        .await;
        pod
    }

    /// Waits until the relay of a pod says something of itself.
    async fn relay(&self, pod: &Pod, what: &str, holds: impl Fn(&Value) -> bool) {
        let wait = async {
            while !holds(&self.pool.relay_status(&pod.name_any()).await) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = timeout(MOMENT, wait).await;
        assert!(seen.is_ok(), "not seen within {MOMENT:?}: {} {what}", pod.name_any());
    }

    /// The pod as it is now.
    async fn now(&self, pod: &Pod) -> Pod {
        let pods = self.pool.pods().await;
        let found = pods.into_iter().find(|found| found.uid() == pod.uid());
        found.unwrap_or_else(|| panic!("{} is gone", pod.name_any()))
    }
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref()).unwrap_or_default()
}

/// A count of a relay's drain.
fn count(status: &Value, name: &str) -> u64 {
    status["drain"][name].as_u64().unwrap_or_default()
}

/// Rolls out under live streams, lets `kill` end the operator at its moment, and asserts that the rollout is as one
/// without a kill.
async fn rollout_with_a_kill(
    name: &str,
    kill: impl AsyncFnOnce(&Rollout<'_>, ContainerProcess) -> Killed,
) {
    cluster::breaking_test(name, WHY, async |namespace, faults| {
        let [old, new] = images::relays().await;
        cluster::load_image(old).await;
        cluster::load_image(new).await;
        let operator = pool::fresh_operator(namespace.client()).await;
        let operators = pool::operator_pods(namespace.client());
        let drain = json!({"drain": {"graceSeconds": 60}});
        let pool = Pool::create(namespace, old, RELAYS as u32, drain).await;
        pool.ready().await;
        let profile = pool.profile("team").await;
        let outside = Outside::create().await;
        let client = || pool::client(&profile, &outside).move_delay(HOLD);
        let pairs = pairs_apart(PAIRS, || [client(), client()]).await;
        let uids: BTreeSet<String> =
            pool.pods().await.iter().map(|pod| pod.uid().unwrap()).collect();

        let process = faults.process(&operator, OPERATOR);
        let rollout = async {
            let floor = pool.watch_floor();
            floor.started().await;
            let began = Instant::now();
            let generation = pool.set_image(new).await;
            let killed = kill(&Rollout { pool: &pool, new }, process).await;
            let dead = Instant::now();
            killed.replaced(&operators).await;
            let away = dead.elapsed();
            let done = pool.rolled_out(generation, ROLLOUT).await;
            namespace.figure("the rollout took, s", began.elapsed().as_secs());
            (done, floor.stop(), away)
        };
        let (talked, (done, seen, away)) = talk(pairs, Offered::default(), MARGIN, rollout).await;
        assert_nothing_was_lost(&talked, &seen);
        assert_each_drain_was_counted_once(&done, &uids, &talked);
        report(namespace, &done, &talked, &seen, away);
    })
    .await;
}

fn assert_nothing_was_lost(talked: &Talked, seen: &Seen) {
    talked.outcome.assert_whole();
    assert_eq!(talked.resumes, 0, "{talked:?}");
    assert!(seen.fewest_serving >= RELAYS, "the floor: {seen:?}");
    assert!(seen.most_pods <= RELAYS + 2, "the ceiling: {seen:?}");
}

fn assert_each_drain_was_counted_once(done: &RelayPool, uids: &BTreeSet<String>, talked: &Talked) {
    let status = done.status.as_ref().unwrap();
    let mut all = 0;
    for drain in &status.drains {
        assert_eq!(drain.state, DrainState::Counted, "{drain:?}");
        assert_eq!(drain.id, format!("{}-1", drain.uid), "it was begun once");
        let sessions = drain.at_flag + drain.stragglers;
        let outcomes = drain.moved + drain.left + drain.forced + drain.silent;
        assert_eq!(outcomes, sessions, "{drain:?}");
        all += sessions;
    }
    let drained: BTreeSet<_> = status.drains.iter().map(|drain| drain.uid.clone()).collect();
    assert_eq!((&drained, status.drains.len()), (uids, RELAYS), "each old pod, once");
    let rollout = status.rollout.as_ref().unwrap();
    assert_eq!((rollout.left, rollout.forced, rollout.silent), (0, 0, 0), "{rollout:?}");
    assert_eq!(rollout.unjudged, 0, "{rollout:?}");
    assert_eq!(rollout.moved, all, "{rollout:?}");
    assert_eq!(rollout.moved as u64, talked.handovers, "the clients count as the relays do");
    assert!(rollout.moved >= 2 * PAIRS as i64, "every session moved at least once: {rollout:?}");
}

fn report(
    namespace: &TestNamespace,
    done: &RelayPool,
    talked: &Talked,
    seen: &Seen,
    away: Duration,
) {
    let rollout = done.status.as_ref().and_then(|status| status.rollout.as_ref()).unwrap();
    let outcome = &talked.outcome;
    namespace.figure("from SIGKILL to the next operator, ms", away.as_millis());
    let blocks = format!("{} of {}", outcome.blocks_received, outcome.blocks_sent);
    namespace.figure("blocks of 1000 bytes that arrived in order", blocks);
    namespace.figure("longest stall of a stream, ms", outcome.longest_stall.as_millis());
    let (moved, left, forced, silent) =
        (rollout.moved, rollout.left, rollout.forced, rollout.silent);
    let sessions = format!("moved {moved}, left {left}, forced {forced}, silent {silent}");
    namespace.figure("sessions", sessions);
    let pods = format!("{}, {}", seen.fewest_serving, seen.most_pods);
    namespace.figure("fewest serving pods, most pods", pods);
}
