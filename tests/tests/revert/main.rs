//! A rollout on a real cluster that is taken back in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use baton_client::Client;
use baton_tests::outside::Outside;
use baton_tests::pool::{self, Pool};
use baton_tests::until::until;
use baton_tests::{cluster, images};
use kube::ResourceExt as _;
use serde_json::json;

const RELAYS: usize = 3;
const CLIENTS: usize = 9;

/// How long a client that acknowledges GOAWAY holds its move back.
const HOLD: Duration = Duration::from_secs(20);

/// How long a change of the pool may take to reach the clients.
const NOTICE: Duration = Duration::from_secs(60);

const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_is_taken_back_costs_nothing_and_can_be_made_again() {
    cluster::test_alone("revert", async |namespace| {
        let [old, new] = images::relays().await;
        cluster::load_image(old).await;
        cluster::load_image(new).await;
        let drain = json!({"drain": {"graceSeconds": 60}});
        let pool = Pool::create(namespace, old, RELAYS as u32, drain).await;
        pool.ready().await;
        let profile = pool.profile("team").await;
        let outside = Outside::create().await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let config = pool::client(&profile, &outside).move_delay(HOLD);
            clients.push(Client::connect(config).await.unwrap());
        }
        let homes: Vec<_> = clients.iter().map(|client| client.status().relay).collect();

        pool.set_image(new).await;
        until("a relay's sessions are told to move", NOTICE, || {
            clients.iter().any(|client| client.status().must_move)
        })
        .await;
        let back = pool.set_image(old).await;
        until("they may stay", NOTICE, || clients.iter().all(|client| !client.status().must_move))
            .await;
        pool.rolled_out(back, PATIENCE).await;
        for pod in pool.pods().await {
            assert!(!pod.annotations().contains_key("baton.dev/drain"), "{}", pod.name_any());
        }
        let stayed =
            clients.iter().zip(&homes).filter(|(client, home)| client.status().relay == **home);
        let stayed: Vec<_> = stayed.map(|(client, _)| client).collect();
        assert_eq!(stayed.len(), CLIENTS, "nobody had to move");

        let [one, .., other] = stayed.as_slice() else { panic!("two that stayed") };
        let mut route = one.route(other.peer()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), route.opened())
            .await
            .expect("a new route opens");
        route.send(b"on a new route").unwrap();
        let (from, payload) = other.datagram().await;
        assert_eq!((from, &payload[..]), (one.peer(), &b"on a new route"[..]));

        let forward = pool.set_image(new).await;
        let done = pool.rolled_out(forward, PATIENCE).await;
        let rollout = done.status.unwrap().rollout.unwrap();
        assert_eq!((rollout.forced, rollout.silent, rollout.left), (0, 0, 0), "{rollout:?}");
        let resumes: u64 = clients.iter().map(|client| client.status().resumes).sum();
        assert_eq!(resumes, 0, "every session was handed over, none was lost");
        namespace.figure(
            "sessions that stayed after the image was set back",
            format!("{} of {CLIENTS}", stayed.len()),
        );
        namespace.figure("moved when it was rolled forward again", rollout.moved);
        for client in clients {
            client.close().await;
        }
    })
    .await;
}
