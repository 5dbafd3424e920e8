//! What a plan consists of. An action names everything it does: who applies it makes no choice.

use std::fmt;

use baton_crds::RelayPoolStatus;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::report::Report;

/// What to do now, in this order: write the status, then the actions one after the other, up to the
/// first that fails.
#[derive(Debug)]
#[must_use]
pub struct Plan {
    /// The status, if it is time to write it. It is written before anything is done, so that what was
    /// seen is kept before what follows from it destroys the evidence.
    pub status: Option<Box<RelayPoolStatus>>,
    /// What to do.
    pub actions: Vec<Action>,
    /// What to tell people once the status is written.
    pub events: Vec<Event>,
    /// Drains of which this status counts the outcome for the first time.
    pub outcomes: Vec<Outcome>,
    /// When to look again even if nothing happens.
    pub requeue: Requeue,
    /// What is waited for.
    pub report: Report,
}

/// When to plan again if nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// Something drains: each second.
    Soon,
    /// At this time, when a pod will have been ready for long enough.
    At(Timestamp),
    /// In a while.
    Later,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Put our finalizer on the pool.
    HoldPool,
    /// Take it away.
    ReleasePool,
    /// Make a Secret, with content that only the one who makes it knows.
    CreateSecret(SecretKind),
    /// Make a ControllerRevision.
    CreateRevision(Box<ControllerRevision>),
    /// Delete a ControllerRevision that nothing needs.
    DeleteRevision {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Apply the clients' ConfigMap.
    ApplyClientConfig(Box<ConfigMap>),
    /// Apply the Service.
    ApplyService(Box<Service>),
    /// Apply the PodDisruptionBudget.
    ApplyBudget(Box<PodDisruptionBudget>),
    /// Delete the PodDisruptionBudget.
    DeleteBudget,
    /// Take the shutdown flag away.
    Undrain(PodRef),
    /// Delete a pod.
    DeletePod(PodRef, Gone),
    /// Tell a pod its siblings.
    Seed(PodRef, Box<Seeds>),
    /// Set the shutdown flag.
    Drain(PodRef, Box<DrainOrder>),
    /// Make a pod.
    CreatePod(Box<Pod>),
}

/// Which Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// `<pool>-pool`: from which relays derive what they share.
    Pool,
    /// `<pool>-auth`: with which access tokens are made.
    Auth,
    /// `<pool>-ca`: the authority of the pool.
    Authority,
    /// `<pool>-tls`: the relays' certificate. Needs the authority.
    Certificate,
}

/// A pod exactly as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its state.
    pub resource_version: String,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It is drained.
    Drained,
    /// Its deadline has passed.
    Expired,
    /// It did not acknowledge its flag. SIGTERM will drain it, within its whole grace.
    NotAcknowledged,
    /// It has no sessions, and is not wanted.
    Unused,
    /// Nothing of it runs.
    Finished,
}

/// The annotation `baton.dev/seeds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// Every other pod that has an address and is not known to be gone.
    pub pods: Vec<Seed>,
    /// There is none: the pod may be ready alone.
    pub first: bool,
}

/// A sibling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: String,
}

/// The annotation `baton.dev/drain`, and the number that makes its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOrder {
    /// `baton.dev/drain-count` from now on.
    pub count: u64,
    /// How long sessions may take to move.
    pub grace_seconds: i32,
    /// Why.
    pub reason: Reason,
    /// How fast this pod's sessions may return; 0 = no limit.
    pub max_sessions_per_second: i32,
    /// When the order was given.
    pub at: Timestamp,
    /// How often the container had been restarted then.
    pub restarts: i32,
}

/// Why a pod drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is replaced.
    Rollout,
    /// It is one too many.
    ScaleDown,
    /// There will be nobody left.
    Closing,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Sessions that moved.
    pub moved: i64,
    /// Sessions that left.
    pub left: i64,
    /// Sessions that were closed at the deadline.
    pub forced: i64,
    /// Sessions that never answered.
    pub silent: i64,
}

/// Something that people should be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Is it bad?
    pub warning: bool,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub note: String,
}

impl Action {
    /// The kind of action, as a label of metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HoldPool => "hold_pool",
            Self::ReleasePool => "release_pool",
            Self::CreateSecret(_) => "create_secret",
            Self::CreateRevision(_) => "create_revision",
            Self::DeleteRevision { .. } => "delete_revision",
            Self::ApplyClientConfig(_) => "apply_client_config",
            Self::ApplyService(_) => "apply_service",
            Self::ApplyBudget(_) => "apply_budget",
            Self::DeleteBudget => "delete_budget",
            Self::Undrain(_) => "undrain",
            Self::DeletePod(..) => "delete_pod",
            Self::Seed(..) => "seed",
            Self::Drain(..) => "drain",
            Self::CreatePod(_) => "create_pod",
        }
    }

    /// Every kind there is.
    pub const KINDS: [&'static str; 14] = [
        "hold_pool",
        "release_pool",
        "create_secret",
        "create_revision",
        "delete_revision",
        "apply_client_config",
        "apply_service",
        "apply_budget",
        "delete_budget",
        "undrain",
        "delete_pod",
        "seed",
        "drain",
        "create_pod",
    ];

    /// The living pod that it is about.
    #[must_use]
    pub fn pod(&self) -> Option<&PodRef> {
        match self {
            Self::Undrain(pod)
            | Self::DeletePod(pod, _)
            | Self::Seed(pod, _)
            | Self::Drain(pod, _) => Some(pod),
            _ => None,
        }
    }

    /// What to tell people when it is done.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let (warning, reason) = match self {
            Self::Undrain(_) => (false, "DrainCancelled"),
            Self::DeletePod(_, Gone::NotAcknowledged) => (true, "DrainNotAcknowledged"),
            Self::DeletePod(_, Gone::Expired) => (true, "DrainExpired"),
            Self::DeletePod(..) => (false, "PodDeleted"),
            Self::Drain(..) => (false, "DrainStarted"),
            Self::CreatePod(_) => (false, "PodCreated"),
            Self::CreateSecret(_) => (false, "SecretCreated"),
            _ => return None,
        };
        Some(Event { warning, reason, note: self.to_string() })
    }
}

/// As in golden transcripts and Events.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_of = |name: &Option<String>| name.clone().unwrap_or_default();
        match self {
            Self::HoldPool => f.write_str("hold the pool"),
            Self::ReleasePool => f.write_str("release the pool"),
            Self::CreateSecret(kind) => write!(f, "create the {kind} Secret"),
            Self::CreateRevision(revision) => {
                write!(f, "create revision {}", name_of(&revision.metadata.name))
            }
            Self::DeleteRevision { name, .. } => write!(f, "delete revision {name}"),
            Self::ApplyClientConfig(_) => f.write_str("apply the clients' ConfigMap"),
            Self::ApplyService(_) => f.write_str("apply the Service"),
            Self::ApplyBudget(_) => f.write_str("apply the PodDisruptionBudget"),
            Self::DeleteBudget => f.write_str("delete the PodDisruptionBudget"),
            Self::Undrain(pod) => write!(f, "un-drain {}", pod.name),
            Self::DeletePod(pod, gone) => write!(f, "delete {}: {gone}", pod.name),
            Self::Seed(pod, seeds) if seeds.first => write!(f, "seed {}: first", pod.name),
            Self::Seed(pod, seeds) => {
                let names: Vec<_> = seeds.pods.iter().map(|seed| seed.name.as_str()).collect();
                write!(f, "seed {}: {}", pod.name, names.join(", "))
            }
            Self::Drain(pod, order) => write!(f, "drain {}: {}", pod.name, order.reason.as_str()),
            Self::CreatePod(pod) => write!(f, "create {}", name_of(&pod.metadata.name)),
        }
    }
}

impl Reason {
    /// As in the flag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::ScaleDown => "scale-down",
            Self::Closing => "closing",
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "drained",
            Self::Expired => "its deadline has passed",
            Self::NotAcknowledged => "it did not acknowledge its drain; SIGTERM drains it now",
            Self::Unused => "it has no sessions and is not wanted",
            Self::Finished => "nothing of it runs",
        })
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Auth => "auth",
            Self::Authority => "ca",
            Self::Certificate => "tls",
        })
    }
}

impl SecretKind {
    /// The Secret's name.
    #[must_use]
    pub fn name(self, pool: &str) -> String {
        format!("{pool}-{self}")
    }
}
