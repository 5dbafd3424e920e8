//! A pool on a real cluster is upgraded while peers talk through it over bad links.

use std::time::Duration;

use baton_tests::cluster;
use baton_tests::pool::upgrade::{Scenario, run};
use baton_tests::traffic::Offered;
use baton_tests::udp_proxy::{Both, Conditions};

#[tokio::test(flavor = "multi_thread")]
async fn at_50_ms_and_one_percent_loss_nothing_is_lost_either() {
    cluster::test_alone("upgrade_lossy", async |namespace| {
        let delay = Duration::from_millis(25);
        let scenario = Scenario {
            pairs: 15,
            offered: Offered { bytes_per_second: 50_000, ..Offered::default() },
            link: Some(Both::same(Conditions { delay, loss: 0.01, ..Conditions::default() })),
            control: Duration::from_secs(30),
            // Chance alone makes the two runs differ by more than their rollout: a datagram crosses two bad links, and
            // of some 30,000 about 600 are lost, give or take 25.
            datagram_slack: 0.005,
        };
        run(namespace, scenario).await;
    })
    .await;
}
