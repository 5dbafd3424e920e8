//! Three pods, one on each node, and the addresses that lead to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use baton_tests::cluster::{DEADLINE, TestNamespace, load_image, ready_pods, wait_for};
use baton_tests::images;
use baton_tests::testpod::{TestPod, UDP_PORT, create_service};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

pub(crate) async fn image() -> &'static str {
    let image = images::testpod().await;
    load_image(image).await;
    &image.name
}

/// One pod on each of these nodes, named after it.
pub(crate) async fn pods(namespace: &TestNamespace, nodes: &[&str]) {
    for node in nodes {
        TestPod::new(node, image().await).on(node).create(namespace).await;
    }
    ready_pods(namespace, nodes.len()).await;
}

/// A Service of type LoadBalancer, once it has its address; returns that with the UDP port.
pub(crate) async fn balanced_service(namespace: &TestNamespace) -> SocketAddr {
    create_service(namespace, "LoadBalancer").await;
    let services: Api<Service> = namespace.api();
    let has_address = |service: &Service| address(service).is_some();
    let service = wait_for(&services, "testpod", "has an address", DEADLINE, has_address).await;
    SocketAddr::from((address(&service).unwrap(), UDP_PORT))
}

/// Keeps the Service's flows on nodes that have a pod, with the client's address.
pub(crate) async fn make_local(namespace: &TestNamespace) {
    let services: Api<Service> = namespace.api();
    let local = json!({"spec": {"externalTrafficPolicy": "Local"}});
    services.patch("testpod", &PatchParams::default(), &Patch::Merge(local)).await.unwrap();
}

fn address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    match ingress.first()?.ip.as_ref()?.parse().ok()? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
