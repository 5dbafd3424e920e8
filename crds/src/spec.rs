//! What a pool's owner writes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
use crate::status::RelayPoolStatus;
use crate::template::RelayTemplate;

/// A fleet of QUIC relays behind one UDP address, whose sessions survive the upgrade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "baton.dev",
    version = "v1alpha1",
    kind = "RelayPool",
    plural = "relaypools",
    shortname = "rp",
    namespaced,
    status = "RelayPoolStatus",
    derive = "PartialEq",
    doc = "A fleet of QUIC relays behind one UDP address, whose sessions survive the upgrade.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.counts.updated"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.counts.draining"),
    printcolumn(name = "Sessions", type_ = "integer", json_path = ".status.sessions"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.addresses[0].value"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Progressing\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ).message("metadata.name must be at most 40 lower-case letters, digits and '-', must begin with a \
               letter and must not end with '-': Services and pods are named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.progressDeadlineSeconds > self.drain.graceSeconds + self.minReadySeconds"
).message("spec.progressDeadlineSeconds must be greater than spec.drain.graceSeconds + \
           spec.minReadySeconds, or every slow drain would look stuck: raise it"))]
pub struct RelayPoolSpec {
    /// How many relays shall serve.
    #[serde(default = "RelayPoolSpec::default_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,

    /// How many seconds a new relay must have been ready before an old one is touched for it.
    #[serde(default = "RelayPoolSpec::default_min_ready_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,

    /// After how many seconds without progress the pool is reported as stuck. A session that moved is
    /// progress.
    #[serde(default = "RelayPoolSpec::default_progress_deadline_seconds")]
    #[schemars(range(min = 1, max = 604_800))]
    pub progress_deadline_seconds: i32,

    /// How many revisions without pods are kept.
    #[serde(default = "RelayPoolSpec::default_revision_history_limit")]
    #[schemars(range(min = 0, max = 20))]
    pub revision_history_limit: i32,

    /// Start nothing: no new drain, no pod of a new revision. Drains under way are finished, and a pod
    /// that dies is replaced by one as it was.
    #[serde(default)]
    pub paused: bool,

    /// The relay pods.
    pub template: RelayTemplate,

    /// How the pool is reached.
    #[serde(default)]
    pub service: ServiceSpec,

    /// Who may attach.
    #[serde(default)]
    pub auth: AuthSpec,

    /// What one relay takes.
    #[serde(default)]
    pub limits: LimitsSpec,

    /// How sessions leave a relay.
    #[serde(default)]
    pub drain: DrainSpec,

    /// How relays are replaced.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// What others may do to the pods.
    #[serde(default)]
    pub disruption: DisruptionSpec,
}

impl RelayPoolSpec {
    fn default_replicas() -> i32 {
        3
    }

    fn default_min_ready_seconds() -> i32 {
        5
    }

    fn default_progress_deadline_seconds() -> i32 {
        600
    }

    fn default_revision_history_limit() -> i32 {
        5
    }
}

/// The Service in front of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
        .message("service.nodePort needs service.type NodePort or LoadBalancer"),
    validation = Rule::new("!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'")
        .message("service.externalTrafficPolicy needs service.type NodePort or LoadBalancer"),
    validation = Rule::new(
        "(!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)) || self.type == 'LoadBalancer'"
    ).message("service.loadBalancerClass and service.loadBalancerSourceRanges need service.type LoadBalancer")
)]
pub struct ServiceSpec {
    /// LoadBalancer, NodePort or ClusterIP.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,

    /// The public UDP port.
    #[serde(default = "ServiceSpec::default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// The port on every node. Unset: Kubernetes chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,

    /// Annotations of the Service, for the load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub load_balancer_class: Option<String>,

    /// From where clients may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^[0-9a-fA-F.:]+/[0-9]{1,3}$'))").message(
        "spec.service.loadBalancerSourceRanges must be networks, such as 203.0.113.0/24 or 2001:db8::/32"
    ))]
    pub load_balancer_source_ranges: Option<Vec<String>>,

    /// Cluster (the default) or Local. Local shows clients' addresses, and drops packets on nodes without
    /// a relay until the load balancer notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,

    /// As a Service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,

    /// As a Service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(validation = Rule::new("size(self) < 2 || self[0] != self[1]")
        .message("spec.service.ipFamilies names a family twice: leave one out"))]
    pub ip_families: Option<Vec<IpFamily>>,
}

impl ServiceSpec {
    fn default_port() -> i32 {
        443
    }
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            kind: ServiceType::default(),
            port: Self::default_port(),
            node_port: None,
            annotations: BTreeMap::new(),
            load_balancer_class: None,
            load_balancer_source_ranges: None,
            external_traffic_policy: None,
            ip_family_policy: None,
            ip_families: None,
        }
    }
}

/// The type of the Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// An address from the load balancer.
    #[default]
    LoadBalancer,
    /// A port on every node.
    NodePort,
    /// An address inside the cluster.
    ClusterIP,
}

/// Through which nodes traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// Through every node.
    Cluster,
    /// Through nodes that have a relay.
    Local,
}

/// As a Service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One family.
    SingleStack,
    /// Both, where the cluster has both.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// Version 4.
    IPv4,
    /// Version 6.
    IPv6,
}

/// Who may attach to the relays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthSpec {
    /// Token (the default): whoever has a token made with a secret of the Secret `<pool>-auth`, which
    /// the operator makes. Open: anybody who can reach the address; it must be written.
    pub mode: AuthMode,
}

/// How peers show that they may attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthMode {
    /// By an access token.
    #[default]
    Token,
    /// Not at all.
    Open,
}

/// What one relay takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Sessions on one relay. New pods get a new value; running ones keep theirs.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_sessions_per_pod: i32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { max_sessions_per_pod: 10_000 }
    }
}

/// How sessions leave a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainSpec {
    /// How many seconds sessions may take to move before they are closed.
    #[schemars(range(min = 1, max = 86_400))]
    pub grace_seconds: i32,

    /// How many seconds at most an empty relay goes on to pass packets of others on, once it is deleted.
    #[schemars(range(min = 2, max = 600))]
    pub linger_seconds: i32,

    /// How many sessions per second may return to the pool. 0: no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_sessions_per_second: i32,

    /// What happens to sessions when the pool is deleted. Drain: they are told, then closed.
    /// Immediate: the pods are deleted at once, and close what they have.
    pub on_delete: OnDelete,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            grace_seconds: 60,
            linger_seconds: 10,
            max_sessions_per_second: 500,
            on_delete: OnDelete::Drain,
        }
    }
}

/// What happens to sessions when the pool is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// They are told, then closed.
    #[default]
    Drain,
    /// The pods go at once.
    Immediate,
}

/// How relays are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// Pods beyond `replicas` while relays are replaced: a count, or a share of `replicas` such as
    /// `25%`, rounded up.
    #[schemars(schema_with = "schema::pods_or_percent")]
    pub max_surge: IntOrString,

    /// How many of `replicas` may not serve meanwhile: a count, or a share of `replicas`, rounded down.
    /// If both come out as 0, this is 1.
    #[schemars(schema_with = "schema::pods_or_percent")]
    pub max_unavailable: IntOrString,

    /// How many relays drain at the same time, for whatever reason.
    #[schemars(range(min = 1, max = 16))]
    pub max_draining: i32,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            max_surge: IntOrString::Int(1),
            max_unavailable: IntOrString::Int(0),
            max_draining: 1,
        }
    }
}

/// What others may do to the pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionSpec {
    /// Managed: the operator keeps a PodDisruptionBudget over the serving pods. None: it keeps none.
    pub pod_disruption_budget: BudgetPolicy,

    /// How many of the serving pods may be evicted at the same time: a count or a share.
    #[schemars(schema_with = "schema::pods_or_percent")]
    pub max_unavailable: IntOrString,
}

impl Default for DisruptionSpec {
    fn default() -> Self {
        Self { pod_disruption_budget: BudgetPolicy::Managed, max_unavailable: IntOrString::Int(1) }
    }
}

/// Who keeps the pool's PodDisruptionBudget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BudgetPolicy {
    /// The operator.
    #[default]
    Managed,
    /// Nobody, or somebody else.
    None,
}
