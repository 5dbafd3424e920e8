//! What a person would look at first when a test failed.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use super::TestNamespace;

/// Lines of each pod's log.
const LOG_LINES: i64 = 30;

/// The namespace's events, its pods and their logs. What cannot be had is left out: this is called
/// when things are bad.
pub(super) async fn of(namespace: &TestNamespace) -> String {
    let mut said = format!("--- namespace {} when the test failed\n", namespace.name());
    let events: Api<Event> = namespace.api();
    let mut events = events.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
    events.sort_by_key(|event| event.metadata.creation_timestamp.clone().map(|time| time.0));
    for event in events {
        let about = event.involved_object.name.unwrap_or_default();
        let (reason, message) =
            (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        // Writing to a String cannot fail.
        let _ = writeln!(said, "event  {about}  {reason}: {message}");
    }
    let pods: Api<Pod> = namespace.api();
    for pod in pods.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default() {
        describe(&mut said, &pod);
        let name = pod.name_any();
        for previous in [true, false] {
            let params =
                LogParams { tail_lines: Some(LOG_LINES), previous, ..LogParams::default() };
            for line in pods.logs(&name, &params).await.unwrap_or_default().lines() {
                let run = if previous { " (previous)" } else { "" };
                let _ = writeln!(said, "log  {name}{run}  {line}");
            }
        }
    }
    said
}

fn describe(said: &mut String, pod: &Pod) {
    let status = pod.status.clone().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let _ = write!(
        said,
        "pod  {}  {} on {node}{}",
        pod.name_any(),
        status.phase.unwrap_or_default(),
        if pod.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" },
    );
    for condition in status.conditions.unwrap_or_default() {
        let _ = write!(said, "  {}={}", condition.type_, condition.status);
    }
    said.push('\n');
    for container in status.container_statuses.unwrap_or_default() {
        let state = serde_json::to_string(&container.state).unwrap_or_default();
        let last = serde_json::to_string(&container.last_state).unwrap_or_default();
        let restarts = container.restart_count;
        let _ = writeln!(
            said,
            "    {}  restarts {restarts}  state {state}  before {last}",
            container.name
        );
    }
}
