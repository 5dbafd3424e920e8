//! What a relay says of itself: `GET /v1/status`, in the form of the drain contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::directory::Directory;
use crate::drain::Report;
use crate::metrics::Metrics;

/// See the [module](self).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Of the pod, from the environment.
    pub pod_uid: String,
    /// Random per process.
    pub boot_id: String,
    /// Of the relay.
    pub version: &'static str,
    /// Where it is in its life.
    pub state: Phase,
    /// Alive now.
    pub sessions: usize,
    /// The last drain.
    pub drain: Option<Report>,
    /// Why the flag cannot be read.
    pub flag_error: Option<String>,
    /// Sessions that came from relays which go away.
    pub handovers_in: Counts,
    /// Sessions whose client's address changed.
    pub migrations: Counts,
    /// What it can hold.
    pub capacity: Capacity,
    /// Who it knows.
    pub mesh: MeshStatus,
}

/// Where a relay is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It takes sessions.
    Serving,
    /// Its sessions must move.
    Draining,
    /// They have, and its siblings know.
    Drained,
    /// It is about to exit.
    Lingering,
}

/// Successes, and failures by class.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    /// Successes.
    pub ok: u64,
    /// Failures; every class is there.
    pub failed: BTreeMap<&'static str, u64>,
}

/// What a relay can hold.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Sessions.
    pub max_sessions: usize,
}

/// Who a relay knows.
#[derive(Clone, Debug, Serialize)]
pub struct MeshStatus {
    /// Siblings to which there is a link.
    pub links: usize,
    /// Peers that are online in the pool, as this relay knows it.
    pub peers: usize,
}

/// Makes the status.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) pod_uid: String,
    pub(crate) boot: u64,
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) flag_error: Mutex<Option<String>>,
}

impl Reporter {
    /// Readiness never goes back: a relay that drains stays ready, or its flows would be cut (docs/decisions/0002).
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(crate) fn set_flag_error(&self, error: Option<String>) {
        *self.flag_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(crate) fn status(&self) -> Status {
        let standing = self.directory.standing();
        let state = match (standing.lingering, standing.drained, standing.draining) {
            (true, ..) => Phase::Lingering,
            (_, true, _) => Phase::Drained,
            (_, _, true) => Phase::Draining,
            _ => Phase::Serving,
        };
        let counts =
            |(ok, failed): (u64, Vec<_>)| Counts { ok, failed: failed.into_iter().collect() };
        Status {
            pod_uid: self.pod_uid.clone(),
            boot_id: format!("{:016x}", self.boot),
            version: crate::version(),
            state,
            sessions: standing.sessions,
            drain: standing.report,
            flag_error: self.flag_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            handovers_in: counts(self.metrics.handovers_in()),
            migrations: counts(self.metrics.migrations()),
            capacity: Capacity { max_sessions: self.directory.max_sessions() },
            mesh: MeshStatus { links: standing.siblings, peers: standing.online },
        }
    }
}
