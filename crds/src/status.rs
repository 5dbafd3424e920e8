//! What the operator reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a pool is. State changes show at once, numbers at most every ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayPoolStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Progressing, Degraded and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,

    /// Where clients reach the pool, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<PoolAddress>,

    /// Serving pods: ready, not draining, not being deleted. These are the pods of `selector`.
    #[serde(default)]
    pub replicas: i32,

    /// Selects the serving pods, for `kubectl scale` and autoscalers.
    #[serde(default)]
    pub selector: String,

    /// Pods by what they do.
    #[serde(default)]
    pub counts: PodCounts,

    /// Sessions on all pods, as last asked. Absent while no relay has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<i64>,

    /// Which revisions the pool runs.
    #[serde(default)]
    pub revisions: Revisions,

    /// The last change of what the pods are made of, under way or done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,

    /// Drains under way, and the last ones that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".into()]))]
    #[schemars(length(max = 32))]
    pub drains: Vec<DrainStatus>,
}

/// Pods by what they do. One pod may count in several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// All pods there are, also those that are going.
    pub pods: i32,
    /// Of the revision that is wanted now, not going.
    pub updated: i32,
    /// Serving, of the revision that is wanted now, and ready for `minReadySeconds`.
    pub available: i32,
    /// Neither serving nor draining nor going: they start, or fail.
    pub starting: i32,
    /// Draining.
    pub draining: i32,
    /// Deleted, and not gone yet.
    pub terminating: i32,
}

/// Where clients reach the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolAddress {
    /// What kind of address it is.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// Address and port.
    pub value: String,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressKind {
    /// The load balancer's.
    LoadBalancer,
    /// Inside the cluster only.
    ClusterIP,
}

/// Revisions by the hash of what they are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Revisions {
    /// The last one that all pods had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The one that is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
}

/// The last change of what the pods are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation that began it and the revision it goes to.
    pub id: String,
    /// How far it is.
    pub state: RolloutState,
    /// Sessions that moved to another relay.
    #[serde(default)]
    pub moved: i64,
    /// Sessions that their client closed.
    #[serde(default)]
    pub left: i64,
    /// Sessions that were still there at the deadline, and were closed.
    #[serde(default)]
    pub forced: i64,
    /// Sessions that never answered, or were lost before the deadline.
    #[serde(default)]
    pub silent: i64,
    /// Drains whose outcome could not be read.
    #[serde(default)]
    pub unjudged: i32,
    /// When it began.
    pub started_at: Time,
    /// When a pod was last replaced, became ready, or lost a session to another.
    pub progressed_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What it waits for.
    #[serde(default)]
    pub message: String,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutState {
    /// New pods are being made.
    Surging,
    /// New pods are not ready, or not for long enough.
    Verifying,
    /// Old pods drain.
    Draining,
    /// Drained pods are going.
    Settling,
    /// `spec.paused`.
    Paused,
    /// Nothing happened for `progressDeadlineSeconds`. It goes on when something does.
    Halted,
    /// Every pod is as wanted.
    Complete,
}

/// The drain of one pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// The pod's UID.
    pub uid: String,
    /// The pod's name.
    pub pod: String,
    /// The drain's id: the UID and a count.
    pub id: String,
    /// Why: rollout, scale-down, closing.
    pub reason: String,
    /// How far it is.
    pub state: DrainState,
    /// The relay has answered the flag.
    #[serde(default)]
    pub acknowledged: bool,
    /// When the flag was set.
    pub started_at: Time,
    /// Sessions when the relay saw the flag.
    #[serde(default)]
    pub at_flag: i64,
    /// Sessions that were registered since.
    #[serde(default)]
    pub stragglers: i64,
    /// Sessions still here.
    #[serde(default)]
    pub remaining: i64,
    /// Sessions that moved to another relay.
    #[serde(default)]
    pub moved: i64,
    /// Sessions that their client closed.
    #[serde(default)]
    pub left: i64,
    /// Sessions that were still there at the deadline, and were closed.
    #[serde(default)]
    pub forced: i64,
    /// Sessions that never answered, or were lost before the deadline.
    #[serde(default)]
    pub silent: i64,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainState {
    /// The flag is set.
    Draining,
    /// It ended, and its outcome is in the sums of the rollout, if it was for one.
    Counted,
    /// It ended, and nobody could say how. A later report still counts.
    Unjudged,
    /// The flag was taken away.
    Cancelled,
}
