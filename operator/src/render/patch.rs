//! What is written onto a living pod. Each patch carries the pod's UID and resource version: it is
//! refused if the pod is another, or has changed since it was planned for.

use serde_json::{Value, json};

use crate::names;
use crate::plan::action::{DrainOrder, PodRef, Seeds};
use crate::plan::snapshot::Flag;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The annotation `baton.dev/drain`, as the contract has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DrainAnnotation {
    id: String,
    grace_seconds: i32,
    reason: String,
    max_sessions_per_second: i32,
}

/// The annotation `baton.dev/drain-mark`: what only the operator needs to know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DrainMark {
    set_at: Timestamp,
    restarts: i32,
}

/// Sets the shutdown flag.
#[must_use]
pub fn drain(pod: &PodRef, order: &DrainOrder) -> Value {
    let flag = DrainAnnotation {
        id: drain_id(&pod.uid, order.count),
        grace_seconds: order.grace_seconds,
        reason: order.reason.as_str().to_owned(),
        max_sessions_per_second: order.max_sessions_per_second,
    };
    let mark = DrainMark { set_at: order.at, restarts: order.restarts };
    guarded(
        pod,
        &json!({
            "labels": {names::PHASE_LABEL: names::DRAINING},
            "annotations": {
                names::DRAIN_ANNOTATION: text(&flag),
                names::DRAIN_COUNT_ANNOTATION: order.count.to_string(),
                names::DRAIN_MARK_ANNOTATION: text(&mark),
            },
        }),
    )
}

/// Takes the shutdown flag away. The count stays: no id is ever used twice.
#[must_use]
pub fn undrain(pod: &PodRef) -> Value {
    guarded(
        pod,
        &json!({
            "labels": {names::PHASE_LABEL: names::SERVING},
            "annotations": {names::DRAIN_ANNOTATION: null, names::DRAIN_MARK_ANNOTATION: null},
        }),
    )
}

/// Tells a pod its siblings.
#[must_use]
pub fn seed(pod: &PodRef, seeds: &Seeds) -> Value {
    guarded(pod, &json!({"annotations": {names::SEEDS_ANNOTATION: text(seeds)}}))
}

/// The flag in these annotations. One that this operator did not set, or that somebody changed, still is
/// one, because the relay may act on it; but it has no id and no time, so nothing follows from it but that
/// it is taken away.
#[must_use]
pub fn read_flag(flag: &str, mark: Option<&str>) -> Flag {
    let read = || -> Option<Flag> {
        let DrainAnnotation { id, reason, .. } = serde_json::from_str(flag).ok()?;
        let DrainMark { set_at, restarts } = serde_json::from_str(mark?).ok()?;
        Some(Flag { id, reason, set_at, restarts })
    };
    read().unwrap_or(Flag {
        id: String::new(),
        reason: String::new(),
        set_at: Timestamp::UNIX_EPOCH,
        restarts: i32::MAX,
    })
}

/// A drain's id.
#[must_use]
pub fn drain_id(uid: &str, count: u64) -> String {
    format!("{uid}-{count}")
}

fn guarded(pod: &PodRef, metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    metadata["uid"] = Value::from(pod.uid.as_str());
    metadata["resourceVersion"] = Value::from(pod.resource_version.as_str());
    json!({"metadata": metadata})
}

/// Structures of strings and numbers: always JSON.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::action::{Reason, Seed};

    fn pod() -> PodRef {
        PodRef { name: "edge-x-0".into(), uid: "u".into(), resource_version: "7".into() }
    }

    fn order() -> DrainOrder {
        DrainOrder {
            count: 2,
            grace_seconds: 60,
            reason: Reason::ScaleDown,
            max_sessions_per_second: 500,
            at: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            restarts: 1,
        }
    }

    #[test]
    fn the_flag_is_that_of_the_contract() {
        let expected = json!({"metadata": {
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"baton.dev/phase": "draining"},
            "annotations": {
                "baton.dev/drain":
                    r#"{"id":"u-2","graceSeconds":60,"reason":"scale-down","maxSessionsPerSecond":500}"#,
                "baton.dev/drain-count": "2",
                "baton.dev/drain-mark": r#"{"setAt":"2026-01-01T00:00:00.5Z","restarts":1}"#,
            },
        }});
        assert_eq!(drain(&pod(), &order()), expected);
    }

    #[test]
    fn what_was_set_reads_back() {
        let set = drain(&pod(), &order());
        let annotations = &set["metadata"]["annotations"];
        let text = |key: &str| annotations[key].as_str().unwrap();
        let flag = read_flag(text("baton.dev/drain"), Some(text("baton.dev/drain-mark")));
        assert_eq!(flag.id, "u-2");
        assert_eq!(flag.reason, "scale-down");
        assert_eq!((flag.set_at, flag.restarts), (order().at, 1));
    }

    #[test]
    fn a_flag_that_is_not_ours_has_no_id() {
        let ours = r#"{"id":"u-2","graceSeconds":60,"reason":"rollout","maxSessionsPerSecond":5}"#;
        for (flag, mark) in [("true", None), (ours, None), (ours, Some("nonsense"))] {
            assert!(read_flag(flag, mark).is_foreign(), "{flag}");
        }
    }

    #[test]
    fn the_flag_is_taken_away_and_its_count_stays() {
        let expected = json!({"metadata": {
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"baton.dev/phase": "serving"},
            "annotations": {"baton.dev/drain": null, "baton.dev/drain-mark": null},
        }});
        assert_eq!(undrain(&pod()), expected);
    }

    #[test]
    fn seeds_are_those_of_the_contract() {
        let pods = vec![Seed { name: "edge-7c9f-2".into(), ip: "10.244.1.7".into() }];
        let patch = seed(&pod(), &Seeds { pods, first: false });
        let expected = r#"{"pods":[{"name":"edge-7c9f-2","ip":"10.244.1.7"}],"first":false}"#;
        assert_eq!(patch["metadata"]["annotations"]["baton.dev/seeds"], expected);
    }
}
