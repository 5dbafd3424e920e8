//! A pod as the planner knows it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;

use crate::names;
use crate::plan::snapshot::{Container, Probe, RelayPod};
use crate::render::patch::read_flag;

/// The pod, with what it said when it was asked.
#[must_use]
pub fn observe(pod: &Pod, probe: Probe) -> RelayPod {
    let metadata = &pod.metadata;
    let annotation =
        |name: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let status = pod.status.clone().unwrap_or_default();
    let relay = relay(&status);
    let mark = annotation(names::DRAIN_MARK_ANNOTATION).map(String::as_str);
    // An empty annotation is an empty file to the relay: no flag.
    let flag = annotation(names::DRAIN_ANNOTATION).filter(|flag| !flag.is_empty());
    let count = annotation(names::DRAIN_COUNT_ANNOTATION).and_then(|count| count.parse().ok());
    RelayPod {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        revision: label(names::REVISION_LABEL).cloned().unwrap_or_default(),
        image: image(pod).unwrap_or_default(),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        ready_since: ready_since(&status),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        terminating_until: metadata.deletion_timestamp.as_ref().map(|time| time.0),
        container: relay.map_or(Container::Unknown, container),
        restarts: relay.map_or(0, |relay| relay.restart_count),
        last_message: relay.and_then(last_message),
        unschedulable: unschedulable(&status),
        flag: flag.map(|flag| read_flag(flag, mark)),
        drain_count: count.unwrap_or(0),
        has_seeds: annotation(names::SEEDS_ANNOTATION).is_some(),
        probe,
    }
}

fn image(pod: &Pod) -> Option<String> {
    let mut containers = pod.spec.as_ref()?.containers.iter();
    containers.find(|container| container.name == names::RELAY_CONTAINER)?.image.clone()
}

fn relay(status: &PodStatus) -> Option<&ContainerStatus> {
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|container| container.name == names::RELAY_CONTAINER)
}

fn ready_since(status: &PodStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::MAX, |time| time.0);
    (ready.status == "True").then_some(since)
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|condition| condition.type_ == "PodScheduled")?;
    let is = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    is.then(|| scheduled.message.clone().unwrap_or_default())
}

fn container(relay: &ContainerStatus) -> Container {
    let Some(state) = &relay.state else { return Container::Unknown };
    if let Some(waiting) = &state.waiting {
        return Container::Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
        };
    }
    if state.terminated.is_some() {
        return Container::Exited;
    }
    if state.running.is_some() {
        return Container::Running { started: relay.started.unwrap_or(false) };
    }
    Container::Unknown
}

/// Of its present end, or of the one before it was started again.
fn last_message(relay: &ContainerStatus) -> Option<String> {
    let states = [relay.state.as_ref(), relay.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    ends.find_map(|end| end.message.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(change: impl FnOnce(&mut Value)) -> RelayPod {
        let mut pod = json!({
            "metadata": {
                "name": "edge-hash-0",
                "uid": "u",
                "resourceVersion": "7",
                "labels": {"baton.dev/revision": "hash"},
                "annotations": {},
            },
            "status": {
                "phase": "Running",
                "podIP": "10.244.1.7",
                "conditions": [{
                    "type": "Ready",
                    "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
                "containerStatuses": [{
                    "name": "relay", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "started": true,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }],
            },
        });
        change(&mut pod);
        observe(&serde_json::from_value(pod).unwrap(), Probe::default())
    }

    #[test]
    fn a_ready_pod_serves() {
        let pod = seen(|_| {});
        assert!(pod.serves() && pod.may_have_sessions());
        assert_eq!(pod.revision, "hash");
        assert_eq!(pod.ip.as_deref(), Some("10.244.1.7"));
        assert!(!pod.has_seeds);
    }

    #[test]
    fn a_pod_with_a_flag_a_deletion_or_without_readiness_does_not_serve() {
        let flag = r#"{"id":"u-1","graceSeconds":60,"reason":"rollout","maxSessionsPerSecond":0}"#;
        let mark = r#"{"setAt":"2026-01-01T00:00:00Z","restarts":0}"#;
        let draining = seen(|pod| {
            pod["metadata"]["annotations"] = json!({
                "baton.dev/drain": flag, "baton.dev/drain-mark": mark, "baton.dev/drain-count": "1",
            });
        });
        assert_eq!(draining.flag.as_ref().unwrap().id, "u-1");
        assert_eq!(draining.drain_count, 1);
        let foreign = seen(|pod| pod["metadata"]["annotations"]["baton.dev/drain"] = json!("yes"));
        assert!(foreign.flag.as_ref().unwrap().is_foreign());
        let deleted = seen(|pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:20Z");
        });
        let unready = seen(|pod| pod["status"]["conditions"][0]["status"] = json!("False"));
        for pod in [draining, foreign, deleted, unready] {
            assert!(!pod.serves(), "{pod:?}");
        }
    }

    #[test]
    fn an_empty_flag_is_none() {
        let pod = seen(|pod| pod["metadata"]["annotations"]["baton.dev/drain"] = json!(""));
        assert!(pod.serves());
    }

    #[test]
    fn the_last_words_outlive_the_restart() {
        let pod = seen(|pod| {
            let relay = &mut pod["status"]["containerStatuses"][0];
            relay["restartCount"] = json!(1);
            relay["started"] = json!(false);
            relay["lastState"] = json!({"terminated": {"exitCode": 0, "message": "words"}});
        });
        assert_eq!(pod.last_message.as_deref(), Some("words"));
        assert_eq!(pod.restarts, 1);
        assert!(!pod.may_have_sessions());
    }

    #[test]
    fn a_pod_that_waits_or_is_nowhere_says_why() {
        let waiting = seen(|pod| {
            pod["status"]["containerStatuses"][0]["state"] =
                json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        });
        assert!(
            matches!(waiting.container, Container::Waiting { reason, .. } if reason == "ErrImagePull")
        );
        let nowhere = seen(|pod| {
            pod["status"] = json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room",
            }]});
        });
        assert_eq!(nowhere.unschedulable.as_deref(), Some("no room"));
        assert_eq!(nowhere.container, Container::Unknown);
    }
}
