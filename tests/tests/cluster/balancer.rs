//! The emulated load balancer does what a cloud's does.

use std::time::Duration;

use baton_cluster::control::Connection;
use baton_tests::cluster::{self, DEADLINE, wait_gone};
use baton_tests::flows::{Probe, until_new_flow_reaches};
use baton_tests::outside::Outside;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams};
use tokio::time::{Instant, sleep};

use crate::stage::{self, NODES};

/// New flows that must all avoid a node: each misses it by chance with 2/3, all with 10^-7.
const NEW_FLOWS: usize = 40;

#[tokio::test]
async fn a_local_service_keeps_the_client_address_and_uses_only_nodes_with_a_pod() {
    cluster::test_on_ours("local_service", "it reads who the pods see", async |namespace| {
        stage::pods(namespace, &NODES[..2]).await;
        let target = stage::balanced_service(namespace).await;
        stage::make_local(namespace).await;
        let outside = Outside::create().await;
        for pod in &NODES[..2] {
            until_new_flow_reaches(&outside, target, pod).await;
        }
        // Once the balancer has asked the nodes, no flow goes to the third, which would drop it.
        let started = Instant::now();
        let mut answered = 0;
        while answered < NEW_FLOWS {
            let mut flow = Probe::new(&outside, target).await;
            match flow.ask_once(Duration::from_millis(500)).await {
                Some(answer) => {
                    assert_eq!(Some(answer.seen.ip()), outside.public().map(Into::into));
                    answered += 1;
                }
                None => answered = 0,
            }
            assert!(started.elapsed() < DEADLINE, "flows still go to a node without a pod");
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_taken_out_and_its_flows_go_elsewhere() {
    cluster::breaking_test("silent_node", "it cuts a node's link", async |namespace, faults| {
        stage::pods(namespace, &NODES[..1]).await;
        let target = stage::balanced_service(namespace).await;
        let outside = Outside::create().await;
        let mut flows = Vec::new();
        for _ in 0..NEW_FLOWS {
            let mut flow = Probe::new(&outside, target).await;
            flow.ask().await;
            flows.push(flow);
        }
        let cut = Instant::now();
        faults.link("n3", false).await;
        // All are answered again once the balancer has noticed: two bad answers, a second apart.
        for flow in &mut flows {
            while flow.ask_once(Duration::from_millis(100)).await.is_none() {
                assert!(cut.elapsed() < DEADLINE, "a flow is lost to the silent node");
            }
        }
        namespace.figure("all flows answered after the cut, ms", cut.elapsed().as_millis());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_service_is_silent_and_forgotten() {
    cluster::test_on_ours("deleted_service", "it knows the addresses", async |namespace| {
        stage::pods(namespace, &NODES[..1]).await;
        let target = stage::balanced_service(namespace).await;
        let outside = Outside::create().await;
        let mut flow = Probe::new(&outside, target).await;
        flow.ask().await;

        let services: Api<Service> = namespace.api();
        services.delete("testpod", &DeleteParams::default()).await.unwrap();
        wait_gone(&services, "testpod", DEADLINE).await;
        let deleted = Instant::now();
        while flow.ask_once(Duration::from_millis(100)).await.is_some() {
            assert!(deleted.elapsed() < DEADLINE, "a deleted Service still answers");
            sleep(Duration::from_millis(50)).await;
        }
        // Not that its address is given out again, which other tests' Services may have by now.
        let service = format!("{}/testpod", namespace.name());
        let status = Connection::open().await.unwrap().status().await.unwrap();
        let known = status.balanced.iter().any(|balanced| balanced.service == service);
        assert!(!known, "the balancer still has {service}");
    })
    .await;
}
