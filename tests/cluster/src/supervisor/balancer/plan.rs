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

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Every way that flows may take.
    fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        self.nodes.iter().flat_map(move |&node| {
            self.ports.iter().map(move |port| Way {
                address: self.address,
                port: port.clone(),
                node,
            })
        })
    }
}

/// From an address and a port of the balancer to a node and its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    address: Ipv4Addr,
    port: Port,
    node: NodeId,
}

impl Way {
    pub(super) fn protocol(&self) -> &'static str {
        self.port.protocol
    }

    /// Which flows take it, as `conntrack(8)` wants it said.
    pub(super) fn flows(&self) -> [String; 8] {
        [
            "--orig-dst",
            &self.address.to_string(),
            "--orig-port-dst",
            &self.port.port.to_string(),
            "--reply-src",
            &self.node.address().to_string(),
            "--reply-port-src",
            &self.port.node_port.to_string(),
        ]
        .map(str::to_owned)
    }
}

/// What the gateway's kernel holds, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Programmed {
    /// `None` at first, and where a change failed half-way.
    rules: Option<String>,
    /// Every way that some flow may have taken.
    ways: BTreeSet<Way>,
}

/// What must be done to the gateway's kernel, in this order.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) rules: String,
    /// Their flows must be forgotten.
    pub(super) gone: Vec<Way>,
}

impl Programmed {
    /// What there is to do; it counts as half done until [`Programmed::done`].
    pub(super) fn change_to(&mut self, balanced: &[Balanced]) -> Option<Change> {
        let rules = rules(balanced);
        if self.rules.as_ref() == Some(&rules) {
            return None;
        }
        self.rules = None;
        let wanted: BTreeSet<Way> = balanced.iter().flat_map(Balanced::ways).collect();
        let gone = self.ways.difference(&wanted).cloned().collect();
        self.ways.extend(wanted);
        Some(Change { rules, gone })
    }

    /// All of the change was made.
    pub(super) fn done(&mut self, Change { rules, gone }: Change) {
        self.rules = Some(rules);
        self.ways.retain(|way| !gone.contains(way));
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

    fn change(programmed: &mut Programmed, spec: serde_json::Value, nodes: &[&str]) -> Change {
        let answers: Vec<_> = nodes.iter().map(|&node| (node, PROXY_PORT, true)).collect();
        let services = [service("a", spec)];
        let balanced = Plan::default().update(services.iter(), &Health::noted(3, &answers));
        programmed.change_to(&balanced).expect("something to do")
    }

    /// Address, port, node and its port of each way that goes.
    fn gone(change: &Change) -> Vec<String> {
        let values = |way: &Way| {
            let flows = way.flows();
            let values: Vec<&str> = flows.iter().skip(1).step_by(2).map(String::as_str).collect();
            format!("{} {}", way.protocol(), values.join(" "))
        };
        change.gone.iter().map(values).collect()
    }

    fn ports(ports: &[(&str, u16, u16)]) -> serde_json::Value {
        let port = |(protocol, port, node_port): &(&str, u16, u16)| {
            json!({
                "protocol": protocol,
                "port": port,
                "nodePort": node_port,
            })
        };
        json!({"ports": ports.iter().map(port).collect::<Vec<_>>()})
    }

    #[test]
    fn flows_of_a_node_or_a_port_that_is_taken_away_are_forgotten() {
        let mut programmed = Programmed::default();
        let both = || ports(&[("UDP", 443, 30443), ("TCP", 80, 30080)]);
        let first = change(&mut programmed, both(), &["n1", "n2"]);
        assert_eq!(gone(&first), [""; 0]);
        programmed.done(first);
        let without_n2 = change(&mut programmed, both(), &["n1"]);
        assert_eq!(
            gone(&without_n2),
            ["tcp 10.202.0.1 80 10.200.0.12 30080", "udp 10.202.0.1 443 10.200.0.12 30443"]
        );
        programmed.done(without_n2);
        let other_ports = change(&mut programmed, ports(&[("UDP", 443, 31443)]), &["n1"]);
        assert_eq!(
            gone(&other_ports),
            ["tcp 10.202.0.1 80 10.200.0.11 30080", "udp 10.202.0.1 443 10.200.0.11 30443"]
        );
    }

    #[test]
    fn a_change_that_failed_is_made_good_also_when_the_wish_is_the_old_one_again() {
        let mut programmed = Programmed::default();
        let first = change(&mut programmed, json!({}), &["n1"]);
        let rules = first.rules.clone();
        programmed.done(first);
        // Fails: nobody knows how far it came.
        drop(change(&mut programmed, json!({}), &["n2"]));
        let again = change(&mut programmed, json!({}), &["n1"]);
        assert_eq!(again.rules, rules);
        assert_eq!(gone(&again), ["udp 10.202.0.1 443 10.200.0.12 30443"]);
    }

    #[test]
    fn what_is_programmed_is_not_programmed_again() {
        let mut programmed = Programmed::default();
        let only = change(&mut programmed, json!({}), &["n1"]);
        programmed.done(only);
        let services = [service("a", json!({}))];
        let health = Health::noted(3, &[("n1", PROXY_PORT, true)]);
        let balanced = Plan::default().update(services.iter(), &health);
        assert!(programmed.change_to(&balanced).is_none());
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
