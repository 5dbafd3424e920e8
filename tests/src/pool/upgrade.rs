//! A pool is upgraded while peers talk through it.

use std::sync::Arc;
use std::time::Duration;

use baton_crds::{RelayPool, RolloutStatus};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Pool, Seen, address, client, outcomes};
use crate::cluster::{self, TestNamespace};
use crate::images;
use crate::outside::Outside;
use crate::traffic::{Offered, Outcome, Talked, pairs_apart, talk};
use crate::udp_proxy::{Both, UdpProxy};

const RELAYS: u32 = 3;
/// What is left of a run before and after what it is about.
const MARGIN: Duration = Duration::from_secs(2);
const ROLLOUT: Duration = Duration::from_secs(240);

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// How many pairs of peers talk.
    pub pairs: usize,
    /// What each of them offers.
    pub offered: Offered,
    /// The network between each client and the cluster, if it is not a good one.
    pub link: Option<Both>,
    /// How long they talk without a rollout, for comparison.
    pub control: Duration,
    /// How much larger the share of lost datagrams may be with the rollout.
    pub datagram_slack: f64,
}

/// Runs it, asserts that nothing is lost, and records the figures.
///
/// # Panics
/// When anything is.
pub async fn run(namespace: &TestNamespace, scenario: Scenario) {
    let [old, new] = images::relays().await;
    cluster::load_image(old).await;
    cluster::load_image(new).await;
    let drain = json!({"drain": {"graceSeconds": 60}});
    let pool = Pool::create(namespace, old, RELAYS, drain).await;
    pool.ready().await;
    let mut profile = pool.profile("team").await;
    let outside = Arc::new(Outside::create().await);
    let mut proxy = None;
    if let Some(link) = scenario.link {
        let between = UdpProxy::start(outside.clone(), address(&profile), link, 42).await;
        let between = between.expect("a network in between");
        profile.addresses = vec![between.address().to_string()];
        proxy = Some(between);
    }

    let mut two = || [client(&profile, &outside), client(&profile, &outside)];
    let pairs = pairs_apart(scenario.pairs, &mut two).await;
    let quiet = tokio::time::sleep(scenario.control);
    let (control, ()) = talk(pairs, scenario.offered, MARGIN, quiet).await;
    control.outcome.assert_whole();

    let pairs = pairs_apart(scenario.pairs, &mut two).await;
    for (pod, status) in statuses(&pool).await {
        assert!(status["sessions"].as_u64() > Some(0), "{pod} has no session: {status}");
        assert_eq!(status["version"], "1.0.0", "{pod}");
    }
    let (rollout, (done, seen)) = talk(pairs, scenario.offered, MARGIN, roll_out(&pool)).await;
    drop(proxy);
    rollout.outcome.assert_whole();
    let forwarded = pool.counter(r#"baton_relay_bytes_total{direction="mesh_out"}"#).await;
    assert!(forwarded > 0);
    let status = done.status.and_then(|status| status.rollout).expect("a rollout");
    let [moved, left, forced, silent] = [status.moved, status.left, status.forced, status.silent];
    assert_eq!((left, forced, status.unjudged), (0, 0, 0), "{status:?}");
    // A client that is closed says so once. Where that is lost, its session is a ghost until it times out, and a drain counts
    // it as silent: those of the control run, and of pairs that were on one relay.
    assert!(silent == 0 || scenario.link.is_some(), "{status:?}");
    assert_eq!(moved as u64, rollout.handovers, "the clients count as the relays do: {status:?}");
    assert!(moved >= 2 * scenario.pairs as i64, "every session moved at least once: {status:?}");
    assert!(seen.fewest_serving >= RELAYS as usize, "the floor: {seen:?}");
    assert!(seen.most_pods <= RELAYS as usize + 2, "the ceiling: {seen:?}");
    let (loss, base) = (rollout.outcome.datagram_loss(), control.outcome.datagram_loss());
    let slack = scenario.datagram_slack;
    assert!(loss <= base + slack, "datagrams lost: {loss} with the rollout, {base} without");
    for (pod, status) in statuses(&pool).await {
        assert_eq!(status["version"], "2.0.0", "{pod}");
    }
    report(namespace, &control, &rollout, &status, seen);
}

fn report(
    namespace: &TestNamespace,
    control: &Talked,
    rollout: &Talked,
    status: &RolloutStatus,
    seen: Seen,
) {
    let (now, before) = (&rollout.outcome, &control.outcome);
    let percent = |outcome: &Outcome| format!("{:.3}", outcome.datagram_loss() * 100.0);
    let stall = |outcome: &Outcome| outcome.longest_stall.as_millis();
    let blocks = format!("{} of {}", now.blocks_received, now.blocks_sent);
    namespace.figure("blocks of 1000 bytes that arrived in order", blocks);
    let lost = format!("{} (control {})", percent(now), percent(before));
    namespace.figure("datagrams lost, %", lost);
    let stalls = format!("{} (control {})", stall(now), stall(before));
    namespace.figure("longest stall of a stream, ms", stalls);
    namespace.figure("sessions", outcomes(status));
    namespace.figure("handovers as the clients count them", rollout.handovers);
    namespace.figure("attempts that failed and were made again", rollout.failures);
    let pods = format!("{}, {}", seen.fewest_serving, seen.most_pods);
    namespace.figure("fewest serving pods, most pods", pods);
}

/// What every relay says of itself.
async fn statuses(pool: &Pool) -> Vec<(String, Value)> {
    let mut statuses = Vec::new();
    for pod in pool.pods().await {
        let name = pod.name_any();
        let status = pool.relay_status(&name).await;
        statuses.push((name, status));
    }
    statuses
}

async fn roll_out(pool: &Pool) -> (RelayPool, Seen) {
    let floor = pool.watch_floor();
    floor.started().await;
    let generation = pool.set_image(&images::relays().await[1]).await;
    let done = pool.rolled_out(generation, ROLLOUT).await;
    (done, floor.stop())
}
