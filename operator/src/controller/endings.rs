//! The last words of pods that are gone.
//!
//! A relay whose status could not be read at the end leaves its outcome as its termination message. The
//! pod shows it for a moment only, between the end of its container and its own; a turn may come too late,
//! but the watch sees every state.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use baton_crds::{DrainState, RelayPoolStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::observe;
use crate::plan::snapshot::{Probe, RelayPod};

/// More than drain at the same time in many pools; what is older has been read or never will be.
const REMEMBERED: usize = 256;

#[derive(Debug, Clone, Default)]
pub(super) struct Endings(Arc<Mutex<VecDeque<RelayPod>>>);

impl Endings {
    /// A pod was seen, perhaps for the last time.
    pub(super) fn note(&self, pod: &Pod) {
        if pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let mut pod = observe::pod::observe(pod, Probe::default());
        if pod.flag.is_none() || pod.last_message.is_none() {
            return;
        }
        // Its grace was over long ago: it counts for nothing but its words.
        pod.terminating_until = Some(Timestamp::UNIX_EPOCH);
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        endings.retain(|known| known.uid != pod.uid);
        endings.push_back(pod);
        if endings.len() > REMEMBERED {
            endings.pop_front();
        }
    }

    /// Pods that are not among `pods` any more, but whose outcome the stored book still lacks.
    pub(super) fn missed(&self, status: &RelayPoolStatus, pods: &[RelayPod]) -> Vec<RelayPod> {
        let endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |pod: &&RelayPod| {
            let mut drains = status.drains.iter();
            drains.any(|drain| drain.uid == pod.uid && drain.state != DrainState::Counted)
        };
        let gone = |pod: &&RelayPod| !pods.iter().any(|there| there.uid == pod.uid);
        endings.iter().filter(open).filter(gone).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_a_pod_that_is_gone_are_heard_until_they_are_counted() {
        let flag = r#"{"id":"u-1","graceSeconds":60,"reason":"rollout","maxSessionsPerSecond":0}"#;
        let mark = r#"{"setAt":"2026-01-01T00:00:00Z","restarts":0}"#;
        let pod = json!({
            "metadata": {
                "name": "edge-x-0", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"baton.dev/drain": flag, "baton.dev/drain-mark": mark},
            },
            "status": {"containerStatuses": [{
                "name": "relay", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": "words"}},
            }]},
        });
        let endings = Endings::default();
        endings.note(&serde_json::from_value(pod).unwrap());
        let status = |state: &str| -> RelayPoolStatus {
            serde_json::from_value(json!({"drains": [{
                "uid": "u", "pod": "edge-x-0", "id": "u-1", "reason": "rollout", "state": state,
                "startedAt": "2026-01-01T00:00:00Z",
            }]}))
            .unwrap()
        };
        let missed = endings.missed(&status("Unjudged"), &[]);
        assert_eq!(missed[0].last_message.as_deref(), Some("words"));
        assert!(missed[0].is_stuck("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(endings.missed(&status("Unjudged"), &missed), [], "it is still there");
        assert_eq!(endings.missed(&status("Counted"), &[]), []);
        assert_eq!(endings.missed(&RelayPoolStatus::default(), &[]), []);
    }
}
