//! What the load balancer should do, from what Kubernetes says: pure, so that tables can test it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;

use super::health::{Health, PROXY_PORT};
use crate::address::{NodeId, balancer_addresses};
use crate::control::BalancedService;

/// One Service, its address, and where its flows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Balanced {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// Does the Service's status show the address already?
    pub(super) published: bool,
    ports: Vec<Port>,
    nodes: Vec<NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    protocol: &'static str,
    port: i32,
    node_port: i32,
}

impl Balanced {
    pub(super) fn shown(&self) -> BalancedService {
        BalancedService {
            service: format!("{}/{}", self.namespace, self.name),
            address: self.address,
            nodes: self.nodes.clone(),
        }
    }

    /// What decides where packets go; not whether the address is published.
    pub(super) fn routing(&self) -> impl PartialEq + use<> {
        (self.address, self.nodes.clone(), format!("{:?}", self.ports))
    }

    /// Every pair of an address and a node that flows may take.
    pub(super) fn targets(&self) -> impl Iterator<Item = (Ipv4Addr, NodeId)> + '_ {
        self.nodes.iter().map(|&node| (self.address, node))
    }
}

/// Which Service has which address. An address stays with its Service for as long as that exists.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By the Service's uid: one that is made anew under an old name is another.
    addresses: BTreeMap<String, Ipv4Addr>,
    health_ports: BTreeSet<u16>,
}

impl Plan {
    /// Where nodes must be asked for their health.
    pub(super) fn health_ports(&self) -> BTreeSet<u16> {
        // Always: a node is known before the first Service needs it.
        self.health_ports.iter().copied().chain([PROXY_PORT]).collect()
    }

    /// What to do, given the Services and the nodes' health. In order of the addresses.
    pub(super) fn update<'a>(
        &mut self,
        services: impl Iterator<Item = &'a Service>,
        health: &Health,
    ) -> Vec<Balanced> {
        let ours: Vec<&Service> = services.filter(|service| is_ours(service)).collect();
        let uids: BTreeSet<String> = ours.iter().map(|service| uid(service)).collect();
        self.addresses.retain(|uid, _| uids.contains(uid));
        self.health_ports = ours.iter().filter_map(|service| local_health_port(service)).collect();

        let mut balanced = Vec::new();
        for service in ours {
            // With 254 addresses in use a Service stays pending, as with any balancer.
            let Some(address) = self.address(service) else { continue };
            let port = local_health_port(service).unwrap_or(PROXY_PORT);
            balanced.push(Balanced {
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                name: service.metadata.name.clone().unwrap_or_default(),
                address,
                published: shown_address(service) == Some(address),
                ports: ports(service),
                nodes: health.healthy(port),
            });
        }
        balanced.sort_by_key(|balanced| balanced.address);
        balanced
    }

    fn address(&mut self, service: &Service) -> Option<Ipv4Addr> {
        let uid = uid(service);
        if let Some(address) = self.addresses.get(&uid) {
            return Some(*address);
        }
        let free = |address: &Ipv4Addr| !self.addresses.values().any(|used| used == address);
        let address = balancer_addresses().find(free)?;
        self.addresses.insert(uid, address);
        Some(address)
    }
}

/// The gateway's rules, as one transaction. The hash takes the client's address and port; the rest of
/// the 5-tuple is fixed by the rule. Its seed is fixed too, so that a change of one Service does not
/// move another's new flows.
pub(super) fn rules(balanced: &[Balanced]) -> String {
    let mut rules = String::from(
        "table ip balancer {}\n\
         delete table ip balancer\n\
         table ip balancer {\n\
         \tchain prerouting {\n\
         \t\ttype nat hook prerouting priority dstnat;\n",
    );
    for service in balanced {
        for Port { protocol, port, node_port } in &service.ports {
            let to = format!("ip daddr {} {protocol} dport {port}", service.address);
            let nodes: Vec<String> = (0..)
                .zip(&service.nodes)
                .map(|(n, node): (u32, _)| format!("{n} : {}", node.address()))
                .collect();
            // Writing to a String cannot fail.
            let _ = match nodes.len() {
                // An address without a healthy node is silent, as a cloud's is.
                0 => writeln!(rules, "\t\t{to} drop"),
                count => writeln!(
                    rules,
                    "\t\t{to} dnat to jhash ip saddr . {protocol} sport mod {count} seed 0x5eed \
                     map {{ {} }}:{node_port}",
                    nodes.join(", ")
                ),
            };
        }
    }
    rules.push_str("\t}\n}\n");
    rules
}

/// Of type LoadBalancer, without a class of its own, and not on its way out.
fn is_ours(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.load_balancer_class.is_none()
        && service.metadata.deletion_timestamp.is_none()
}

fn uid(service: &Service) -> String {
    service.metadata.uid.clone().unwrap_or_default()
}

fn ports(service: &Service) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => "udp",
                None | Some("TCP") => "tcp",
                Some(_) => return None,
            };
            Some(Port { protocol, port: port.port, node_port: port.node_port? })
        })
        .collect()
}

/// With externalTrafficPolicy Local, only nodes that have a pod answer this port with 200.
fn local_health_port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    spec.health_check_node_port.filter(|_| local).and_then(|port| u16::try_from(port).ok())
}

fn shown_address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.first()?.ip.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(uid: &str, spec: serde_json::Value) -> Service {
        let mut spec_full = json!({
            "type": "LoadBalancer",
            "ports": [{"protocol": "UDP", "port": 443, "nodePort": 30443}],
        });
        for (key, value) in spec.as_object().unwrap() {
            spec_full[key] = value.clone();
        }
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": uid, "uid": uid},
            "spec": spec_full,
        }))
        .unwrap()
    }

    fn all_healthy() -> Health {
        Health::noted(2, &[("n1", PROXY_PORT, true), ("n2", PROXY_PORT, true)])
    }

    fn update(plan: &mut Plan, services: &[Service]) -> Vec<(String, String)> {
        plan.update(services.iter(), &all_healthy())
            .into_iter()
            .map(|balanced| (balanced.name, balanced.address.to_string()))
            .collect()
    }

    fn pair(name: &str, address: &str) -> (String, String) {
        (name.to_owned(), address.to_owned())
    }

    #[test]
    fn an_address_stays_with_its_service_and_is_given_out_again_after_it() {
        let mut plan = Plan::default();
        let [a, b, c] = ["a", "b", "c"].map(|uid| service(uid, json!({})));
        let both = update(&mut plan, &[a, b.clone()]);
        assert_eq!(both, [pair("a", "10.202.0.1"), pair("b", "10.202.0.2")]);
        assert_eq!(update(&mut plan, std::slice::from_ref(&b)), [pair("b", "10.202.0.2")]);
        assert_eq!(update(&mut plan, &[c, b]), [pair("c", "10.202.0.1"), pair("b", "10.202.0.2")]);
    }

    #[test]
    fn other_services_are_left_alone() {
        let mut plan = Plan::default();
        let node_port = service("a", json!({"type": "NodePort"}));
        let classed = service("b", json!({"loadBalancerClass": "example.com/other"}));
        let mut ending = service("c", json!({}));
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(update(&mut plan, &[node_port, classed, ending]), []);
    }

    #[test]
    fn the_rules_spread_flows_over_the_healthy_nodes() {
        let mut plan = Plan::default();
        let services = [service("a", json!({}))];
        let balanced = plan.update(services.iter(), &all_healthy());
        let rules = rules(&balanced);
        assert!(
            rules.contains(
                "ip daddr 10.202.0.1 udp dport 443 dnat to jhash ip saddr . udp sport mod 2 \
                 seed 0x5eed map { 0 : 10.200.0.11, 1 : 10.200.0.12 }:30443"
            ),
            "{rules}"
        );
    }

    #[test]
    fn a_local_service_goes_only_where_its_own_health_port_says_so() {
        let mut plan = Plan::default();
        let local = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 31000});
        let services = [service("a", local)];
        let health = Health::noted(
            2,
            &[("n1", PROXY_PORT, true), ("n2", PROXY_PORT, true), ("n2", 31000, true)],
        );
        let balanced = plan.update(services.iter(), &health);
        assert_eq!(balanced[0].shown().nodes, ["n2".parse().unwrap()]);
        assert!(plan.health_ports().contains(&31000));
    }

    #[test]
    fn an_address_without_a_healthy_node_is_silent() {
        let mut plan = Plan::default();
        let services = [service("a", json!({}))];
        let balanced = plan.update(services.iter(), &Health::noted(2, &[]));
        assert!(rules(&balanced).contains("udp dport 443 drop"));
    }

    #[test]
    fn an_address_is_published_once() {
        let mut plan = Plan::default();
        let mut service = service("a", json!({}));
        let published = |plan: &mut Plan, service: &Service| {
            plan.update([service].into_iter(), &all_healthy())[0].published
        };
        assert!(!published(&mut plan, &service));
        let status = json!({"loadBalancer": {"ingress": [{"ip": "10.202.0.1"}]}});
        service.status = serde_json::from_value(status).unwrap();
        assert!(published(&mut plan, &service));
    }

    proptest::proptest! {
        #[test]
        fn addresses_are_unique_and_stay_while_services_come_and_go(
            steps in proptest::collection::vec(
                proptest::collection::btree_set(0_u8..12, 0..12),
                1..20,
            ),
        ) {
            let mut plan = Plan::default();
            let mut before = BTreeMap::<String, String>::new();
            for present in steps {
                let services: Vec<Service> =
                    present.iter().map(|n| service(&n.to_string(), json!({}))).collect();
                let now: BTreeMap<_, _> = update(&mut plan, &services).into_iter().collect();
                assert_eq!(now.len(), present.len());
                assert_eq!(now.values().collect::<BTreeSet<_>>().len(), now.len());
                for (name, address) in &now {
                    assert!(before.get(name).is_none_or(|earlier| earlier == address));
                }
                before = now;
            }
        }
    }
}
