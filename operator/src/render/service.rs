//! The Service in front of a pool, and the addresses that it has.

use std::collections::BTreeMap;
use std::net::IpAddr;

use baton_crds::{
    AddressKind, ExternalTrafficPolicy, IpFamily, IpFamilyPolicy, PoolAddress, ServiceType,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{owned, stamp};
use crate::names;
use crate::plan::snapshot::Pool;

/// The Service `<pool>`. It selects by the pool alone: a pod that left the selection for what it does
/// would lose its live flows at once (docs/decisions/0002).
#[must_use]
pub fn render(pool: &Pool) -> Service {
    let wanted = &pool.spec.service;
    let mut metadata = owned(pool, pool.name.clone());
    if !wanted.annotations.is_empty() {
        metadata.annotations = Some(wanted.annotations.clone());
    }
    let selector = BTreeMap::from([(names::POOL_LABEL.to_owned(), pool.name.clone())]);
    let spec = ServiceSpec {
        type_: Some(type_name(wanted.kind).to_owned()),
        selector: Some(selector),
        ports: Some(vec![ServicePort {
            name: Some("quic".to_owned()),
            protocol: Some("UDP".to_owned()),
            port: wanted.port,
            target_port: Some(IntOrString::Int(names::PUBLIC_PORT)),
            node_port: wanted.node_port,
            ..ServicePort::default()
        }]),
        load_balancer_class: wanted.load_balancer_class.clone(),
        load_balancer_source_ranges: wanted.load_balancer_source_ranges.clone(),
        external_traffic_policy: wanted.external_traffic_policy.map(|policy| {
            match policy {
                ExternalTrafficPolicy::Cluster => "Cluster",
                ExternalTrafficPolicy::Local => "Local",
            }
            .to_owned()
        }),
        ip_family_policy: wanted.ip_family_policy.map(|policy| {
            match policy {
                IpFamilyPolicy::SingleStack => "SingleStack",
                IpFamilyPolicy::PreferDualStack => "PreferDualStack",
                IpFamilyPolicy::RequireDualStack => "RequireDualStack",
            }
            .to_owned()
        }),
        ip_families: wanted.ip_families.as_ref().map(|families| {
            let name = |family: &IpFamily| match family {
                IpFamily::IPv4 => "IPv4".to_owned(),
                IpFamily::IPv6 => "IPv6".to_owned(),
            };
            families.iter().map(name).collect()
        }),
        ..ServiceSpec::default()
    };
    stamp(&mut metadata, &(&spec, &wanted.annotations));
    Service { metadata, spec: Some(spec), status: None }
}

fn type_name(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::NodePort => "NodePort",
        ServiceType::ClusterIP => "ClusterIP",
    }
}

/// Where clients reach the pool: at the load balancer, if there is one and it has given an address, or
/// at the Service itself.
#[must_use]
pub fn addresses(pool: &Pool, service: Option<&Service>) -> Vec<PoolAddress> {
    let port = pool.spec.service.port;
    let balancer = balancer_hosts(service);
    if !balancer.is_empty() && pool.spec.service.kind == ServiceType::LoadBalancer {
        return addressed(AddressKind::LoadBalancer, balancer, port);
    }
    addressed(AddressKind::ClusterIP, cluster_hosts(service), port)
}

fn addressed(kind: AddressKind, hosts: Vec<String>, port: i32) -> Vec<PoolAddress> {
    // The status holds at most 16.
    let hosts = hosts.into_iter().take(16);
    hosts.map(|host| PoolAddress { kind, value: with_port(&host, port) }).collect()
}

fn balancer_hosts(service: Option<&Service>) -> Vec<String> {
    let ingress = service
        .and_then(|service| service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref());
    let mut hosts = Vec::new();
    for point in ingress.into_iter().flatten() {
        hosts.extend(point.ip.clone().or_else(|| point.hostname.clone()));
    }
    hosts
}

fn cluster_hosts(service: Option<&Service>) -> Vec<String> {
    let spec = service.and_then(|service| service.spec.as_ref());
    let hosts = spec.and_then(|spec| spec.cluster_ips.as_ref());
    hosts.into_iter().flatten().filter(|host| *host != "None").cloned().collect()
}

fn with_port(host: &str, port: i32) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::is_applied;
    use crate::render::tests::pool;

    fn values(kind: &str, service: Value) -> Vec<String> {
        let pool = pool(json!({"service": {"type": kind}}));
        let service: Service = serde_json::from_value(service).unwrap();
        addresses(&pool, Some(&service)).into_iter().map(|address| address.value).collect()
    }

    #[test]
    fn the_address_is_the_load_balancers_or_else_the_services_own() {
        let service = json!({
            "spec": {"clusterIPs": ["10.0.0.1", "fd00::1"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}},
        });
        assert_eq!(values("LoadBalancer", service.clone()), ["192.0.2.1:443", "lb.example:443"]);
        assert_eq!(values("ClusterIP", service), ["10.0.0.1:443", "[fd00::1]:443"]);
        assert_eq!(values("LoadBalancer", json!({})), [""; 0]);
    }

    #[test]
    fn the_selector_knows_the_pool_alone() {
        let service = render(&pool(json!({})));
        let selector = service.spec.unwrap().selector.unwrap();
        assert_eq!(
            selector.into_iter().collect::<Vec<_>>(),
            [("baton.dev/pool".into(), "edge".into())]
        );
    }

    #[test]
    fn what_is_no_longer_wanted_is_noticed() {
        let with = render(&pool(json!({"service": {"annotations": {"a": "1"}}})));
        let without = render(&pool(json!({})));
        assert!(is_applied(Some(&with), &with));
        assert!(!is_applied(Some(&with), &without));
        assert!(!is_applied(None, &without));
    }
}
