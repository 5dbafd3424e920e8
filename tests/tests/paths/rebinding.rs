//! A NAT that forgets its mappings every second.

use std::time::Duration;

use baton_tests::figures;
use baton_tests::traffic::{Flow, exchange};
use baton_tests::udp_proxy::{Both, Conditions, Path};

use crate::stage::{Stage, after, assert_stayed, connections};

/// Sessions, in pairs that talk, and how often the NAT forgets all of them.
const SESSIONS: u8 = 10;
const TIMES: u32 = 10;

/// Between two of them.
const EVERY: Duration = Duration::from_secs(1);

/// What the relay counts of them, at least: it sees them by datagrams that come, and one that it does not see before the next one comes
/// is part of that.
const COUNTED: f64 = 0.99;

async fn rebinds(what: &str, conditions: Conditions) {
    let stage = Stage::set(Both::same(conditions), 7).await;
    let clients = stage.clients(1..=SESSIONS, Duration::from_secs(3)).await;
    let before = connections(&clients);
    let stop = after(EVERY * (TIMES + 1));
    let flow = Flow { every: Duration::from_millis(20), burst: 1, length: 200 };
    let mut talking = tokio::task::JoinSet::new();
    for pair in clients.chunks(2) {
        for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let (from, to, stop) = (from.clone(), to.clone(), stop.clone());
            talking.spawn(async move { exchange(&from, &to, flow, stop).await.unwrap() });
        }
    }
    for _ in 0..TIMES {
        tokio::time::sleep(EVERY).await;
        stage.network.rebind(Path::Whole);
    }
    let all = talking.join_all().await;
    let (sent, came) =
        all.iter().fold((0, 0), |(sent, came), one| (sent + one.sent, came + one.received.count()));
    let longest = all.iter().map(|one| one.received.gaps().longest()).max().unwrap();
    let (counted, wanted) = (stage.counted("rebind"), u64::from(SESSIONS) * u64::from(TIMES));
    figures::record(
        "paths",
        &format!("rebound every second, {what}"),
        format!(
            "{} of {wanted} counted; {came} of {sent} datagrams came, longest gap {} ms",
            counted.ok,
            longest.as_millis()
        ),
    );
    assert!(counted.failed.is_empty(), "{counted:?}");
    assert!(counted.ok <= wanted, "{counted:?}");
    assert!(counted.ok as f64 >= COUNTED * wanted as f64, "{counted:?}");
    assert_eq!(stage.counted("path").all(), 0);
    assert_stayed(&clients, &before);
    stage.end(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_and_each_rebinding_is_counted() {
    rebinds("good network", Conditions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_over_a_lossy_network_too() {
    let conditions =
        Conditions { loss: 0.05, delay: Duration::from_millis(25), ..Conditions::default() };
    rebinds("5 % lost, 25 ms each way", conditions).await;
}
