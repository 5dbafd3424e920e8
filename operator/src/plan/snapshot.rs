//! What the planner knows: the world as it was last seen, with the time of seeing.

use baton_crds::{RelayPoolSpec, RelayPoolStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::revision::Rolls;

/// Everything that a plan is made from.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When all of it was seen.
    pub now: Timestamp,
    /// The pool.
    pub pool: Pool,
    /// Its pods, whatever they do.
    pub pods: Vec<RelayPod>,
    /// Its ControllerRevisions.
    pub revisions: Vec<Revision>,
    /// Its Secrets.
    pub secrets: Secrets,
    /// Its other objects.
    pub objects: Objects,
    /// When this process last wrote numbers to the status; `None` before the first time.
    pub numbers_written: Option<Timestamp>,
}

/// A `RelayPool`, without what no plan depends on.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Its spec.
    pub spec: RelayPoolSpec,
    /// Its status, as it is stored.
    pub status: RelayPoolStatus,
    /// It bears our finalizer.
    pub has_finalizer: bool,
    /// Somebody deleted it then.
    pub deleted_at: Option<Timestamp>,
    /// Its namespace is being deleted too. Only looked up when the pool is.
    pub namespace_terminating: bool,
}

/// A pod of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayPod {
    /// Its name.
    pub name: String,
    /// Its UID: a pod of the same name is another pod.
    pub uid: String,
    /// Which of its states was seen: what is written to it is refused if it has changed since.
    pub resource_version: String,
    /// The hash of what it is made of.
    pub revision: String,
    /// The image of the container `relay`.
    pub image: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Timestamp>,
    /// Its phase is Succeeded or Failed: nothing of it runs, or ever will.
    pub finished: bool,
    /// It is deleted, and its grace ends then.
    pub terminating_until: Option<Timestamp>,
    /// The container `relay`.
    pub container: Container,
    /// How often the container was restarted.
    pub restarts: i32,
    /// The termination message of the container's last end.
    pub last_message: Option<String>,
    /// The scheduler finds no node, and says why.
    pub unschedulable: Option<String>,
    /// The shutdown flag.
    pub flag: Option<Flag>,
    /// How many flags it ever had.
    pub drain_count: u64,
    /// It was told its siblings.
    pub has_seeds: bool,
    /// What it says of itself.
    pub probe: Probe,
}

/// The state of the container `relay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// The kubelet has said nothing yet.
    Unknown,
    /// It waits to be started, for this reason.
    Waiting {
        /// One word.
        reason: String,
        /// In words.
        message: String,
    },
    /// It runs.
    Running {
        /// It was ready once since this start.
        started: bool,
    },
    /// It ended, and was not started again yet.
    Exited,
}

/// A shutdown flag, and the operator's note of when it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The drain's id. Empty: the flag is not one of ours.
    pub id: String,
    /// Why.
    pub reason: String,
    /// When it was set, by the operator's clock.
    pub set_at: Timestamp,
    /// How often the container had been restarted then.
    pub restarts: i32,
}

impl Flag {
    /// Somebody else set it. Nothing may follow from it, so it is taken away.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.id.is_empty()
    }
}

/// What a pod was asked, and what it answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probe {
    /// Since when this process asks about the present drain.
    pub asked_since: Option<Timestamp>,
    /// The last answer that was one, however long ago.
    pub report: Option<RelayStatus>,
    /// The last answer of the process before the one that answers now.
    pub before_restart: Option<RelayStatus>,
}

/// `GET /v1/status` of a relay, and its termination message: `docs/drain-contract.md`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelayStatus {
    /// Whose status it is.
    pub pod_uid: String,
    /// Which process of it.
    pub boot_id: String,
    /// What it does.
    pub state: RelayState,
    /// Sessions alive.
    pub sessions: u32,
    /// The last drain since the process began.
    pub drain: Option<DrainReport>,
    /// Why the flag cannot be read.
    pub flag_error: Option<String>,
}

/// What a relay does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// It takes sessions.
    Serving,
    /// It sends them away.
    Draining,
    /// It has none, and its siblings know.
    Drained,
    /// It goes, and passes on what still enters.
    Lingering,
    /// Something that this operator does not know.
    #[default]
    #[serde(other)]
    Other,
}

/// A drain as the relay counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainReport {
    /// The id of the flag that it answers.
    pub id: String,
    /// Sessions that the flag took.
    pub at_flag: u32,
    /// Sessions registered since.
    pub stragglers: u32,
    /// Sessions still here.
    pub remaining: u32,
    /// Sessions that serve elsewhere.
    pub moved: u32,
    /// Sessions closed by their client, or with nowhere to go.
    pub left: u32,
    /// Sessions closed at the deadline.
    pub forced: u32,
    /// Sessions that never answered.
    pub silent: u32,
}

/// A ControllerRevision.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// The object's name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The hash of what it holds.
    pub hash: String,
    /// Its place in the order of revisions.
    pub number: i64,
    /// What pods of it are made of. `None`: a later operator wrote it in its own way.
    pub rolls: Option<Rolls>,
}

/// Is a Secret there?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// No.
    Missing,
    /// Yes, with every key that pods need.
    Present,
}

/// The Secrets of a pool, never their content, but for the certificate that clients trust.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// `<pool>-pool`.
    pub pool: Presence,
    /// `<pool>-auth`.
    pub auth: Presence,
    /// `<pool>-ca`.
    pub ca: Presence,
    /// `<pool>-tls`.
    pub tls: Presence,
    /// The certificate of the pool's authority.
    pub ca_certificate: Option<String>,
}

/// The objects that are applied as a whole.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// `<pool>`.
    pub service: Option<Service>,
    /// `<pool>-client`.
    pub client: Option<ConfigMap>,
    /// `<pool>`.
    pub budget: Option<PodDisruptionBudget>,
}

impl RelayPod {
    /// It is ready, has no flag and is not being deleted: the one definition of serving, which
    /// `status.replicas`, the floor and every watcher share.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ready_since.is_some() && self.flag.is_none() && !self.is_going()
    }

    /// It has served for so long that an old pod may go for it.
    #[must_use]
    pub fn is_available(&self, now: Timestamp, min_ready_seconds: i32) -> bool {
        self.serves()
            && self.ready_since.is_some_and(|since| {
                since.as_second() + i64::from(min_ready_seconds) <= now.as_second()
            })
    }

    /// It is deleted, or nothing of it runs.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.terminating_until.is_some() || self.finished
    }

    /// It has a flag and can still be un-drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.flag.is_some() && !self.is_going()
    }

    /// It takes part in what the pool has: neither draining nor going.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.flag.is_none() && !self.is_going()
    }

    /// It may have sessions: its process was ready since it began. Before that no session is sent to it,
    /// and with the process its sessions end.
    #[must_use]
    pub fn may_have_sessions(&self) -> bool {
        !self.finished && matches!(self.container, Container::Running { started: true })
    }

    /// The relay ended after the flag was set: by the contract, that is as good as drained.
    #[must_use]
    pub fn exited_since_flag(&self) -> bool {
        self.flag.as_ref().is_some_and(|flag| {
            self.finished || self.container == Container::Exited || self.restarts > flag.restarts
        })
    }

    /// Sessions, as last heard.
    #[must_use]
    pub fn sessions(&self) -> Option<u32> {
        self.probe.report.as_ref().map(|report| report.sessions)
    }

    /// Deleted, and its grace is over by more than the kubelet's own delays: its node is most likely gone.
    /// It counts for nothing, and blocks nothing.
    #[must_use]
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        self.terminating_until
            .is_some_and(|until| until.as_second() + STUCK_AFTER_SECONDS < now.as_second())
    }
}

/// How long after its grace a pod that is still there is given up.
const STUCK_AFTER_SECONDS: i64 = 30;
