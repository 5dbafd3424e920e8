//! A pool on a real cluster is upgraded while peers talk through it.

use std::time::Duration;

use baton_tests::cluster;
use baton_tests::pool::upgrade::{Scenario, run};
use baton_tests::traffic::Offered;

#[tokio::test(flavor = "multi_thread")]
async fn all_relays_are_replaced_under_live_streams_and_nothing_is_lost() {
    cluster::test_alone("upgrade", async |namespace| {
        let scenario = Scenario {
            pairs: 15,
            offered: Offered::default(),
            link: None,
            control: Duration::from_secs(20),
            datagram_slack: 0.001,
        };
        run(namespace, scenario).await;
    })
    .await;
}
