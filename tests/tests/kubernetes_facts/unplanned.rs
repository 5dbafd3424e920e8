//! What goes wrong under the pods: a proxy restarts, a node forgets its flows, a kubelet falls silent.

use std::time::Duration;

use baton_cluster::node_init::{Act, Daemon};
use baton_tests::cluster::{self, ready_pods};
use baton_tests::figures::Spread;
use baton_tests::flows::Probe;
use baton_tests::testpod::TestPod;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use crate::scene::{FLOWS, Scene, pod_on};

/// How long the proxies are down.
const PROXY_DOWN: Duration = Duration::from_secs(4);

/// The cluster gives a silent node up after 16 s, looking every 2 s.
const SILENT_NODE_DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_restart_of_every_kube_proxy_moves_no_flow() {
    cluster::breaking_test("proxy_restart", "it stops kube-proxy", async |namespace, faults| {
        let scene = Scene::set(namespace).await;
        for node in &scene.nodes {
            faults.daemon(node, Daemon::KubeProxy, Act::Kill).await;
        }
        sleep(PROXY_DOWN).await;
        Probe::new(&scene.outside, scene.target).await.ask().await;
        scene.assert_nothing_moved("the end of kube-proxy").await;
        for node in &scene.nodes {
            faults.daemon(node, Daemon::KubeProxy, Act::Start).await;
        }
        // The new proxies have done all that they do at their start when they know a new pod.
        TestPod::new("new", &scene.image).on(&scene.nodes[1]).create(namespace).await;
        ready_pods(namespace, 4).await;
        scene.until_new_flow_reaches("new").await;
        scene.assert_nothing_moved("the start of kube-proxy").await;
        namespace.figure("flows moved by its restart", format!("0 of {FLOWS}"));
    })
    .await;
}

#[tokio::test]
async fn a_node_that_forgets_its_flows_spreads_them_anew() {
    cluster::breaking_test("conntrack_flush", "it flushes conntrack", async |namespace, faults| {
        let scene = Scene::set(namespace).await;
        let before = scene.flows.histories();
        faults.flush_conntrack(&scene.nodes[0]).await;
        scene.flows.settle(&scene.all()).await;
        let after = scene.flows.histories();
        let moved = (0..FLOWS).filter(|&flow| before[flow].pod() != after[flow].pod()).count();
        assert!(moved > 0, "no flow moved when its node forgot it");
        namespace.figure(
            "flows moved by a flush of the node they enter at",
            format!("{moved} of {FLOWS}"),
        );
        let gaps = after.iter().map(|history| history.longest_gap().as_secs_f64() * 1e3);
        namespace.figure("longest gap of each flow, ms", Spread::of(gaps));
    })
    .await;
}

#[tokio::test]
async fn a_silent_kubelets_pods_turn_unready_and_their_flows_move() {
    cluster::breaking_test("silent_kubelet", "it stops a kubelet", async |namespace, faults| {
        let scene = Scene::set(namespace).await;
        let (victim, flows) = scene.busiest();
        let node = scene.nodes.iter().find(|node| pod_on(node) == victim).expect("its node");

        let stopped = Instant::now();
        faults.daemon(node, Daemon::Kubelet, Act::Stop).await;
        let pods = namespace.api::<Pod>();
        let unready = |pod: &Pod| !cluster::is_ready(pod);
        let deadline = SILENT_NODE_DEADLINE;
        cluster::wait_for(&pods, &victim, "turns unready", deadline, unready).await;
        namespace.figure("pod unready after, s", stopped.elapsed().as_secs());
        let moved = || scene.flows.at(&victim).is_empty();
        scene.flows.until("the flows of a silent node move", deadline, moved).await;

        let histories = scene.flows.histories();
        let moves = || flows.iter().map(|&flow| &histories[flow].moves()[0]);
        let at = moves().map(|m| (m.at - stopped).as_secs_f64());
        namespace.figure("flows moved", format!("{} of {}", flows.len(), flows.len()));
        namespace.figure("moved after, s", Spread::of(at));
        let gaps = moves().map(|m| m.gap.as_secs_f64() * 1e3);
        namespace.figure("gap, ms", Spread::of(gaps));
    })
    .await;
}
