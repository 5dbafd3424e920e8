//! The end of a pool, and of its namespace.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use baton_client::{Client, Ended, Event};
use baton_crds::{DrainState, RelayPool};
use baton_tests::cluster::{self, TestNamespace};
use baton_tests::shell;
use serde_json::json;

use crate::stage::{PATIENCE, Stage};

const CLIENTS: usize = 6;

/// Every kind that a pool makes, or has made for it.
const KINDS: &str =
    "pods,services,endpointslices,secrets,configmaps,controllerrevisions,poddisruptionbudgets,rp";

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pool_tells_its_clients_and_leaves_nothing() {
    cluster::test_alone("pool-deleted", async |namespace| {
        let before = objects(namespace).await;
        let stage = Stage::set(namespace, 2, json!({})).await;
        let made = objects(namespace).await;
        for kind in KINDS.split(',').filter(|kind| *kind != "rp") {
            let kind = kind.trim_end_matches('s');
            assert!(
                made.difference(&before).any(|name| name.starts_with(kind)),
                "{kind}: {made:?}"
            );
        }
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::connect(stage.client()).await.unwrap());
        }
        let events: Vec<_> = clients.iter().map(Client::events).collect();

        let started = Instant::now();
        let counted = stage.pool.wait("its drains are counted", PATIENCE, |pool| {
            let drains = pool.status.iter().flat_map(|status| &status.drains);
            drains.filter(|drain| drain.state == DrainState::Counted).count() == 2
        });
        let delete = stage.kubectl("delete rp/edge --timeout=60s");
        let (pool, _): (RelayPool, _) = tokio::join!(counted, delete);
        let gone = started.elapsed();

        for mut events in events {
            let mut told = Vec::new();
            while let Some(event) = events.next().await {
                let is_end = matches!(event, Event::Ended(_));
                told.push(event);
                if is_end {
                    break;
                }
            }
            assert_eq!(told.last(), Some(&Event::Ended(Ended::Closing)), "{told:?}");
            assert!(!told.iter().any(|event| matches!(event, Event::Lost { .. })), "{told:?}");
        }
        let drains = pool.status.unwrap().drains;
        for drain in &drains {
            let cut = (drain.moved, drain.forced, drain.silent);
            assert_eq!((drain.reason.as_str(), cut), ("closing", (0, 0, 0)), "{drain:?}");
        }
        let left: i64 = drains.iter().map(|drain| drain.left).sum();
        assert_eq!(left, CLIENTS as i64, "{drains:?}");

        let list = format!("kubectl --namespace {} get {KINDS} -o name", namespace.name());
        let nothing = |printed: &str| words(printed) == before;
        shell::until_prints(&list, "what was there before", PATIENCE, nothing).await;
        namespace
            .figure("a pool of 2 relays and 6 sessions is deleted within, ms", gone.as_millis());
        for client in clients {
            client.close().await;
        }
    })
    .await;
}

async fn objects(namespace: &TestNamespace) -> BTreeSet<String> {
    baton_tests::pool::install_operator().await;
    let list = format!("kubectl --namespace {} get {KINDS} -o name", namespace.name());
    words(&shell::run(&list).await)
}

fn words(printed: &str) -> BTreeSet<String> {
    printed.split_whitespace().map(Into::into).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_a_loaded_pool_goes_within_its_grace_and_a_minute() {
    const GRACE: u64 = 15;
    cluster::test_alone("pool-namespace", async |namespace| {
        let stage = Stage::set(namespace, 2, json!({"drain": {"graceSeconds": GRACE}})).await;
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            // Half of them stay until they are closed: the worst that a pool can be loaded with.
            let hold = if n % 2 == 0 { Duration::ZERO } else { Duration::from_secs(3600) };
            clients.push(Client::connect(stage.client().move_delay(hold)).await.unwrap());
        }
        let bound = GRACE + 60;
        let started = Instant::now();
        stage.kubectl(&format!("delete ns {} --timeout={bound}s", namespace.name())).await;
        namespace.figure(
            "a namespace with a loaded pool is deleted within, s",
            started.elapsed().as_secs(),
        );
        for client in clients {
            client.close().await;
        }
    })
    .await;
}
