//! The planner: a function from what was seen to what to do next.
//!
//! It knows no clock, no client and no runtime; time is a field of the snapshot. The same snapshot gives
//! the same plan, and a plan whose actions are done gives a snapshot in which nothing is left to do but
//! wait. `apply` carries plans out without a choice of its own.

pub mod action;
mod closing;
mod conditions;
mod drain;
mod events;
mod fleet;
pub mod limits;
pub mod report;
mod resources;
mod rollout;
mod seeds;
pub mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use k8s_openapi::jiff::Timestamp;

use self::action::{Action, Plan, Requeue};
use self::fleet::Fleet;
use self::report::Report;
use self::snapshot::Snapshot;

/// What to do next.
pub fn plan(snapshot: &Snapshot) -> Plan {
    let fleet = Fleet::new(snapshot);
    let mut report = Report::default();
    let pool = &snapshot.pool;
    if pool.deleted_at.is_none() && !pool.has_finalizer {
        // Alone, because it changes the pool that everything else is planned for.
        return alone(Action::HoldPool, report);
    }
    let actions = match pool.deleted_at {
        Some(deleted_at) => closing::plan(&fleet, deleted_at),
        None => standing(&fleet, &mut report),
    };
    if actions.contains(&Action::ReleasePool) {
        return alone(Action::ReleasePool, report);
    }
    watch::report(&fleet, &mut report);
    let book = drain::book(&fleet);
    let status = status::build(&fleet, &book, &report);
    let due = status::is_due(&fleet, &status);
    let events = if due { events::between(&pool.status, &status, &book) } else { Vec::new() };
    Plan {
        requeue: requeue(&fleet),
        outcomes: book.counted.into_iter().map(|(_, outcome)| outcome).collect(),
        status: due.then(|| Box::new(status)),
        actions,
        events,
        report,
    }
}

/// The steps for a pool that stays.
fn standing(fleet: &Fleet<'_>, report: &mut Report) -> Vec<Action> {
    let (mut actions, may_start) = resources::plan(fleet, report);
    let steps = rollout::plan(fleet, may_start);
    // A pod is written to once in a plan: the second time it would be another than was planned for.
    let seeds = seeds::plan(fleet);
    actions.extend(seeds.filter(|seed| !steps.iter().any(|step| step.pod() == seed.pod())));
    actions.extend(steps);
    actions
}

fn alone(action: Action, report: Report) -> Plan {
    Plan {
        status: None,
        actions: vec![action],
        events: Vec::new(),
        outcomes: Vec::new(),
        requeue: Requeue::Later,
        report,
    }
}

fn requeue(fleet: &Fleet<'_>) -> Requeue {
    if fleet.all().any(|pod| pod.flag.is_some()) {
        return Requeue::Soon;
    }
    let min_ready = i64::from(fleet.snapshot.pool.spec.min_ready_seconds);
    let ripening = fleet.all().filter(|pod| pod.serves() && !fleet.is_available(pod));
    let next = ripening
        .filter_map(|pod| pod.ready_since)
        .filter_map(|since| Timestamp::from_second(since.as_second() + min_ready).ok())
        .min();
    next.map_or(Requeue::Later, Requeue::At)
}
