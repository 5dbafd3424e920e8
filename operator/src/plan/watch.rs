//! What the pods are doing, in words: the report, and how far the pool is.

use baton_crds::RolloutState;

use super::fleet::Fleet;
use super::report::{Blocked, Report, Waiting};
use super::snapshot::{Container, RelayPod};

/// Adds what every pod is waited for to the report.
pub(super) fn report(fleet: &Fleet<'_>, report: &mut Report) {
    if fleet.snapshot.pool.spec.paused {
        report.blocked.push(Blocked::Paused);
    }
    for pod in fleet.all().filter(|pod| !pod.is_stuck(fleet.now())) {
        report.blocked.extend(blocked(pod));
        report.waiting.extend(waiting(fleet, pod));
    }
}

fn waiting(fleet: &Fleet<'_>, pod: &RelayPod) -> Option<Waiting> {
    let name = pod.name.clone();
    if pod.is_going() {
        Some(Waiting::End { pod: name })
    } else if pod.is_draining() {
        Some(Waiting::Drain { pod: name })
    } else if pod.ready_since.is_none() {
        Some(Waiting::Ready { pod: name })
    } else if fleet.is_new(pod) && !fleet.is_available(pod) {
        Some(Waiting::MinReady { pod: name })
    } else {
        None
    }
}

fn blocked(pod: &RelayPod) -> Option<Blocked> {
    let flag_error = pod.probe.report.as_ref().and_then(|report| report.flag_error.clone());
    if let (Some(error), true) = (flag_error, pod.is_draining()) {
        return Some(Blocked::FlagUnreadable { pod: pod.name.clone(), error });
    }
    let (reason, message) = failure(pod)?;
    Some(Blocked::PodFailing { pod: pod.name.clone(), reason, message })
}

/// Why a pod does not start, in words that do not change from one attempt to the next: the kubelet goes
/// back and forth between trying and waiting.
fn failure(pod: &RelayPod) -> Option<(String, String)> {
    if pod.is_going() || pod.ready_since.is_some() {
        return None;
    }
    if let Some(message) = &pod.unschedulable {
        return Some(("Unschedulable".to_owned(), message.clone()));
    }
    match &pod.container {
        Container::Waiting { reason, .. } if is_pull_failure(reason) => {
            let image = &pod.image;
            let said = format!("image {image} cannot be pulled: push it, or change the image back");
            Some(("ImagePullFailed".to_owned(), said))
        }
        Container::Waiting { reason, message } if is_config_failure(reason) => {
            Some((reason.clone(), message.clone()))
        }
        _ if pod.restarts > 0 || pod.container == Container::Exited => {
            let said = pod.last_message.clone().unwrap_or_default();
            // The last report of a relay is for the operator, not for people.
            let said = if said.starts_with('{') { String::new() } else { complaint(&said) };
            Some(("Crashing".to_owned(), said))
        }
        _ => None,
    }
}

fn is_pull_failure(reason: &str) -> bool {
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    ]
    .contains(&reason)
}

fn is_config_failure(reason: &str) -> bool {
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"].contains(&reason)
}

/// What a process that failed said about it: the last line that is called an error (some go on with how to get
/// help), or the last of all.
fn complaint(text: &str) -> String {
    let lines = || text.trim().lines().rev();
    let line = lines().find(|line| line.starts_with("error")).or_else(|| lines().next());
    line.unwrap_or_default().chars().take(200).collect()
}

/// What the pool is doing, apart from being stuck.
pub(super) fn activity(fleet: &Fleet<'_>) -> RolloutState {
    if fleet.is_settled() {
        RolloutState::Complete
    } else if fleet.snapshot.pool.spec.paused {
        RolloutState::Paused
    } else if fleet.draining().next().is_some() {
        RolloutState::Draining
    } else if fleet.new_available() < fleet.new_active() {
        RolloutState::Verifying
    } else if fleet.new_active() < fleet.limits.replicas {
        RolloutState::Surging
    } else if fleet.active().count() > fleet.limits.replicas {
        // The next one is about to.
        RolloutState::Draining
    } else {
        RolloutState::Settling
    }
}
