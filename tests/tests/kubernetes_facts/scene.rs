//! The scene of most facts: three pods on three nodes behind one Service, and a machine outside.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use baton_tests::cluster::{DEADLINE, TestNamespace, load_image, ready_pods, takes_pods};
use baton_tests::flows::{Flows, Probe, until_new_flow_reaches};
use baton_tests::images;
use baton_tests::outside::Outside;
use baton_tests::testpod::{TestPod, create_service};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, sleep};

/// Flows of each fact, each from a port of its own: one of three pods has 33 of them or more.
pub(crate) const FLOWS: usize = 99;

/// Long enough for everything that happens while a pod is ending.
pub(crate) const GRACE_SECONDS: u32 = 20;

pub(crate) struct Scene {
    pub(crate) outside: Outside,
    pub(crate) flows: Flows,
    /// The Service's node port on the first node.
    pub(crate) target: SocketAddr,
    /// The nodes, by name; pod `pod-<node>` runs on each of the first three.
    pub(crate) nodes: Vec<String>,
    pub(crate) image: String,
    /// Flows that were opened before, each at some pod: held, so that no new one gets their ports.
    _before: Vec<Probe>,
}

impl Scene {
    /// Sets the scene, up to every flow being answered.
    pub(crate) async fn set(namespace: &TestNamespace) -> Self {
        let image = images::testpod().await;
        load_image(image).await;
        let nodes = nodes(namespace).await;
        let service = create_service(namespace, "NodePort").await;
        for (node, _) in nodes.iter().take(3) {
            let pod = TestPod::new(&pod_on(node), &image.name).on(node).lingers(GRACE_SECONDS);
            pod.create(namespace).await;
        }
        ready_pods(namespace, nodes.len().min(3)).await;

        let target = SocketAddr::new(nodes[0].1, node_port(&service));
        let outside = Outside::create().await;
        let nodes: Vec<String> = nodes.into_iter().map(|(name, _)| name).collect();
        // A proxy learns of the pods one by one: before it knows all, the first gets every flow.
        let mut before = Vec::new();
        for node in nodes.iter().take(3) {
            before.extend(until_new_flow_reaches(&outside, target, &pod_on(node)).await);
        }
        let flows = Flows::start(&outside, target, FLOWS).await;
        Self { outside, flows, target, nodes, image: image.name.clone(), _before: before }
    }

    /// The pod with the most flows, with those flows. At least a third of them, by counting.
    pub(crate) fn busiest(&self) -> (String, Vec<usize>) {
        let pods = self.nodes.iter().take(3).map(|node| pod_on(node));
        let (pod, flows) = pods
            .map(|pod| (pod.clone(), self.flows.at(&pod)))
            .max_by_key(|(_, flows)| flows.len())
            .expect("there are pods");
        assert!(flows.len() * 3 >= FLOWS, "{pod} has {} of {FLOWS} flows", flows.len());
        (pod, flows)
    }

    /// All flows.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..FLOWS).collect()
    }

    /// How often any of these flows moved.
    pub(crate) fn moves(&self, flows: &[usize]) -> usize {
        let histories = self.flows.histories();
        flows.iter().map(|&flow| histories[flow].moves().len()).sum()
    }

    /// Opens new flows until one reaches this pod; returns how many it took.
    pub(crate) async fn until_new_flow_reaches(&self, pod: &str) -> usize {
        until_new_flow_reaches(&self.outside, self.target, pod).await.len()
    }

    /// Asserts that no flow ever moved, after every one was answered again.
    pub(crate) async fn assert_nothing_moved(&self, why: &str) {
        self.flows.settle(&self.all()).await;
        assert_eq!(self.moves(&self.all()), 0, "{why} moved flows");
    }
}

pub(crate) fn pod_on(node: &str) -> String {
    format!("pod-{node}")
}

/// The nodes that take pods, with their addresses, in order of their names. Three at least, as soon as there are: a node that
/// has just become Ready keeps the taint of one that is not for another moment.
async fn nodes(namespace: &TestNamespace) -> Vec<(String, IpAddr)> {
    let nodes: Api<Node> = Api::all(namespace.client());
    let started = Instant::now();
    loop {
        let listed = nodes.list(&ListParams::default()).await.expect("nodes can be listed");
        let taking = listed.iter().filter(|node| takes_pods(node));
        let mut found: Vec<(String, IpAddr)> =
            taking.filter_map(|node| Some((node.name_any(), address(node)?))).collect();
        if found.len() >= 3 {
            found.sort();
            return found;
        }
        let waited = started.elapsed();
        assert!(waited < DEADLINE, "three nodes that take pods are needed, there are {found:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

fn address(node: &Node) -> Option<IpAddr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|a| a.type_ == "InternalIP")?.address.parse().ok()
}

fn node_port(service: &Service) -> u16 {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).expect("ports");
    let udp = ports.iter().find(|port| port.protocol.as_deref() == Some("UDP")).expect("UDP");
    udp.node_port.and_then(|port| u16::try_from(port).ok()).expect("a node port")
}
