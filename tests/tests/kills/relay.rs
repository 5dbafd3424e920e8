//! A relay is killed, and its peers come back through others or its successor.

use std::time::Duration;

use baton_client::RelayId;
use baton_tests::cluster::{self, is_ready, wait_for};
use baton_tests::figures::Spread;
use baton_tests::images;
use baton_tests::outside::Outside;
use baton_tests::pool::{self, Pool};
use baton_tests::traffic::{Offered, pairs_across, talk};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;

const RELAYS: usize = 3;
const TRIALS: usize = 5;
const PAIRS: usize = 4;

/// What a stream may stand still for.
const LONGEST: Duration = Duration::from_secs(10);

/// They talk for so long before the kill and after the relay is back.
const MARGIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn streams_outlive_the_relay_under_them_and_lose_nothing() {
    let why = "it kills processes on the nodes";
    cluster::breaking_test("kills_relay", why, async |namespace, faults| {
        let [image, _] = images::relays().await;
        cluster::load_image(image).await;
        let pool = Pool::create(namespace, image, RELAYS as u32, json!({})).await;
        pool.ready().await;
        let profile = pool.profile("team").await;
        let outside = Outside::create().await;
        let mut two = || [pool::client(&profile, &outside), pool::client(&profile, &outside)];
        let names: Vec<String> = pool.pods().await.iter().map(Pod::name_any).collect();
        let pods = namespace.api::<Pod>();

        let mut gaps = Vec::new();
        let mut blocks = 0;
        for trial in 0..TRIALS {
            let name = &names[trial % RELAYS];
            let victim = pods.get(name).await.unwrap();
            let relay = RelayId::of_pod(&victim.uid().unwrap());
            let pairs = pairs_across(relay, PAIRS, &mut two).await;
            let process = faults.process(&victim, "relay");
            let kill = async {
                process.kill().await.replaced(&pods).await;
                wait_for(&pods, name, "is ready again", cluster::DEADLINE, is_ready).await;
            };
            let (talked, ()) = talk(pairs, Offered::default(), MARGIN, kill).await;
            talked.outcome.assert_whole();
            assert!(talked.resumes >= PAIRS as u64, "each pair lost a session: {talked:?}");
            assert_eq!(talked.handovers, 0, "{talked:?}");
            let gap = talked.outcome.longest_stall;
            assert!(gap <= LONGEST, "trial {}: a stream stood still for {gap:?}", trial + 1);
            blocks += talked.outcome.blocks_received;
            gaps.push(gap.as_secs_f64() * 1e3);
        }
        let each: Vec<String> = gaps.iter().map(|gap| format!("{gap:.0}")).collect();
        namespace.figure("longest gap of a stream in each trial, ms", each.join(", "));
        namespace.figure("of the trials, ms (the goal of a later issue: 3000)", Spread::of(gaps));
        let of_blocks = format!("{blocks} of {blocks}, {PAIRS} pairs in each of {TRIALS} trials");
        namespace.figure("blocks of 1000 bytes that arrived in order", of_blocks);
    })
    .await;
}
