//! What a relay pod is made of, as far as its owner decides: curated, not all of a pod template, whose
//! schema alone would be larger than what `kubectl apply` can carry.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The relay pods. A change of anything in here replaces every pod, one after the other.
///
/// What stands at its default is not written out, so that a field added in a later version changes no
/// revision's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayTemplate {
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "RelayTemplateMetadata::is_empty")]
    pub metadata: RelayTemplateMetadata,

    /// The relay's image.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[^[:space:]]+$')").message(
        "spec.template.image must be the name of an image, without spaces, such as registry.example/baton-relay:0.1.0"
    ))]
    pub image: String,

    /// When the image is pulled. Unset: as Kubernetes does, by the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Secrets for the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pull_secrets")]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// What the relay requests, and its limits.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,

    /// Flags of the relay. A flag in here wins over what the operator gives by environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub args: Vec<String>,

    /// More environment. The variables of the drain contract are the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env")]
    #[x_kube(validation = Rule::new(
        "self.all(e, !(e.name in ['BATON_POOL', 'BATON_POD_NAME', 'BATON_POD_UID', 'BATON_POD_IP', \
         'BATON_TERMINATION_GRACE_SECONDS', 'BATON_LINGER_SECONDS', 'BATON_AUTH_MODE', \
         'BATON_MAX_SESSIONS', 'BATON_LOG']))"
    ).message("BATON_POOL, BATON_POD_NAME, BATON_POD_UID, BATON_POD_IP, BATON_TERMINATION_GRACE_SECONDS, \
               BATON_LINGER_SECONDS, BATON_AUTH_MODE, BATON_MAX_SESSIONS and BATON_LOG are set by the operator: \
               use the field in spec, or the relay's flag in spec.template.args"))]
    #[x_kube(validation = Rule::new("self.all(e, e.name.matches('^[^=]+$'))")
        .message("the name of a variable in spec.template.env must not be empty, and must not hold '='"))]
    pub env: Vec<EnvVar>,

    /// What the relay logs: a level, or a filter such as `info,baton_relay=debug`.
    #[serde(default = "default_log_level", skip_serializing_if = "is_default_log_level")]
    #[schemars(length(min = 1, max = 256))]
    pub log_level: String,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = Rule::new(schema::KEYS_RULE).message(schema::KEYS_MESSAGE))]
    pub node_selector: BTreeMap<String, String>,

    /// As a pod's affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// As a pod's tolerations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,

    /// As a pod's. Unset: spread over the nodes where that is possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::spread")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// As a pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,

    /// The account the pods run under. They get no token of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
}

/// Labels and annotations of relay pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct RelayTemplateMetadata {
    /// Labels; those under baton.dev/ are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('baton.dev/'))")
        .message("labels under baton.dev/ are set by the operator: choose another prefix"))]
    #[x_kube(validation = Rule::new(schema::KEYS_RULE).message(schema::KEYS_MESSAGE))]
    pub labels: BTreeMap<String, String>,

    /// Annotations; of those under baton.dev/, only `baton.dev/restartedAt`: another value in it
    /// replaces every pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new(
        "self.all(k, !k.startsWith('baton.dev/') || k == 'baton.dev/restartedAt')"
    ).message("annotations under baton.dev/ are set by the operator, but for baton.dev/restartedAt: \
               choose another prefix"))]
    #[x_kube(validation = Rule::new(schema::KEYS_RULE).message(schema::KEYS_MESSAGE))]
    pub annotations: BTreeMap<String, String>,
}

impl RelayTemplateMetadata {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// What a container requests, and its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// What a node must have free.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::amounts")]
    pub requests: BTreeMap<String, IntOrString>,

    /// What the relay may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::amounts")]
    pub limits: BTreeMap<String, IntOrString>,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At each start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// The node has it, or the pod does not start.
    Never,
}

/// `info`.
#[must_use]
pub fn default_log_level() -> String {
    "info".to_owned()
}

fn is_default_log_level(level: &String) -> bool {
    *level == default_log_level()
}
