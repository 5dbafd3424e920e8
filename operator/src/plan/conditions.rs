//! The conditions; `docs/crd.md` has their truth table.

use baton_crds::RolloutState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::drain::whole_seconds;
use super::fleet::Fleet;
use super::report::{Blocked, Report};
use super::status::lacks_secret;

/// The reason of a pool that is stuck.
pub(super) const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

struct Wanted {
    type_: &'static str,
    is: bool,
    reason: &'static str,
    message: String,
}

pub(super) fn build(
    fleet: &Fleet<'_>,
    activity: RolloutState,
    stuck: bool,
    report: &Report,
) -> Vec<Condition> {
    let wanted = [
        ready(fleet),
        progressing(fleet, activity, stuck, report),
        degraded(fleet, stuck, report),
        stalled(fleet, stuck, report),
    ];
    wanted.into_iter().map(|wanted| condition(fleet, wanted)).collect()
}

/// The time of the transition is kept while the status is the same.
fn condition(fleet: &Fleet<'_>, wanted: Wanted) -> Condition {
    let pool = &fleet.snapshot.pool;
    let status = if wanted.is { "True" } else { "False" };
    let stored = pool.status.conditions.iter().find(|stored| stored.type_ == wanted.type_);
    let since = stored
        .filter(|stored| stored.status == status)
        .map_or_else(|| whole_seconds(fleet.now()), |stored| stored.last_transition_time.clone());
    Condition {
        type_: wanted.type_.to_owned(),
        status: status.to_owned(),
        reason: wanted.reason.to_owned(),
        message: wanted.message,
        last_transition_time: since,
        observed_generation: Some(pool.generation),
    }
}

/// It never waits for the load balancer: its address is not the pool's to give.
fn ready(fleet: &Fleet<'_>) -> Wanted {
    let (serving, replicas) = (fleet.serving(), fleet.limits.replicas);
    let closing = fleet.snapshot.pool.deleted_at.is_some();
    let is = serving >= fleet.limits.ready() && !closing;
    let reason = match (is, replicas) {
        _ if closing => "Closing",
        (true, 0) => "ScaledToZero",
        (true, _) => "Serving",
        (false, _) => "NotEnoughServing",
    };
    Wanted { type_: "Ready", is, reason, message: format!("{serving} of {replicas} relays serve") }
}

fn progressing(fleet: &Fleet<'_>, activity: RolloutState, stuck: bool, report: &Report) -> Wanted {
    let (is, reason) = match activity {
        _ if fleet.snapshot.pool.deleted_at.is_some() => (true, "Closing"),
        RolloutState::Complete => (false, "Complete"),
        RolloutState::Paused => (false, "Paused"),
        _ if lacks_secret(fleet) => (false, "SecretMissing"),
        _ if stuck => (false, DEADLINE_EXCEEDED),
        RolloutState::Surging => (true, "Surging"),
        RolloutState::Verifying => (true, "Verifying"),
        RolloutState::Draining => (true, "Draining"),
        RolloutState::Settling | RolloutState::Halted => (true, "Settling"),
    };
    Wanted { type_: "Progressing", is, reason, message: report.text() }
}

fn degraded(fleet: &Fleet<'_>, stuck: bool, report: &Report) -> Wanted {
    let failing = failures(report);
    let (is, reason, message) = if lacks_secret(fleet) {
        (true, "SecretMissing", report.text())
    } else if !failing.is_empty() {
        (true, "PodsFailing", failing)
    } else if stuck {
        (true, DEADLINE_EXCEEDED, report.text())
    } else {
        (false, "AsExpected", String::new())
    };
    Wanted { type_: "Degraded", is, reason, message }
}

/// It does not go on without somebody.
fn stalled(fleet: &Fleet<'_>, stuck: bool, report: &Report) -> Wanted {
    let (is, reason) = if lacks_secret(fleet) {
        (true, "SecretMissing")
    } else if stuck {
        (true, DEADLINE_EXCEEDED)
    } else {
        (false, "AsExpected")
    };
    let message = if is { report.text() } else { String::new() };
    Wanted { type_: "Stalled", is, reason, message }
}

fn failures(report: &Report) -> String {
    let failing: Vec<String> = report
        .blocked
        .iter()
        .filter(|blocked| {
            matches!(blocked, Blocked::PodFailing { .. } | Blocked::FlagUnreadable { .. })
        })
        .map(ToString::to_string)
        .collect();
    failing.join("; ")
}
