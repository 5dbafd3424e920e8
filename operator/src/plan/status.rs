//! The status as it should be, and whether it is time to write it.

use baton_crds::{PodCounts, RelayPoolStatus, Revisions, RolloutState, RolloutStatus};
use k8s_openapi::jiff::Timestamp;

use super::conditions;
use super::drain::{self, Book, whole_seconds};
use super::fleet::Fleet;
use super::report::Report;
use super::snapshot::{Presence, RelayPod};
use super::watch;
use crate::names;
use crate::render;

/// Numbers that are nobody's hurry are written no more often.
const NUMBERS_SECONDS: i64 = 10;

/// The status that says what the snapshot shows.
pub(super) fn build(fleet: &Fleet<'_>, book: &Book, report: &Report) -> RelayPoolStatus {
    let pool = &fleet.snapshot.pool;
    let stored = &pool.status;
    let counts = counts(fleet);
    let activity = watch::activity(fleet);
    let mut rollout = rollout(fleet, book, counts, activity);
    let stuck = is_stuck(fleet, &rollout, activity);
    if stuck && rollout.state != RolloutState::Complete {
        rollout.state = RolloutState::Halted;
    }
    rollout.message = report.text();
    let current = if activity == RolloutState::Complete {
        Some(fleet.target.clone())
    } else {
        stored.revisions.current.clone()
    };
    RelayPoolStatus {
        observed_generation: Some(pool.generation),
        conditions: conditions::build(fleet, activity, stuck, report),
        addresses: render::service::addresses(pool, fleet.snapshot.objects.service.as_ref()),
        replicas: number(fleet.serving()),
        selector: names::serving_selector(&pool.name),
        counts,
        sessions: sessions(fleet).or(stored.sessions),
        revisions: Revisions { current, update: Some(fleet.target.clone()) },
        rollout: Some(rollout),
        drains: book.drains.clone(),
    }
}

fn counts(fleet: &Fleet<'_>) -> PodCounts {
    let count = |is: &dyn Fn(&RelayPod) -> bool| number(fleet.all().filter(|pod| is(pod)).count());
    PodCounts {
        pods: count(&|_| true),
        updated: count(&|pod| fleet.is_new(pod) && !pod.is_going()),
        available: count(&|pod| fleet.is_new(pod) && fleet.is_available(pod)),
        starting: count(&|pod| pod.is_active() && !pod.serves()),
        draining: count(&RelayPod::is_draining),
        terminating: count(&|pod| pod.terminating_until.is_some()),
    }
}

/// The rollout: the stored one if it goes to the same revision, or a new one.
fn rollout(
    fleet: &Fleet<'_>,
    book: &Book,
    counts: PodCounts,
    activity: RolloutState,
) -> RolloutStatus {
    let pool = &fleet.snapshot.pool;
    let now = whole_seconds(fleet.now());
    let same = pool.status.revisions.update.as_deref() == Some(&fleet.target);
    let stored = pool.status.rollout.clone().filter(|_| same);
    let mut rollout = stored.unwrap_or_else(|| RolloutStatus {
        id: format!("{}-{}", pool.generation, fleet.target),
        state: activity,
        moved: 0,
        left: 0,
        forced: 0,
        silent: 0,
        unjudged: 0,
        started_at: now.clone(),
        progressed_at: now.clone(),
        finished_at: None,
        message: String::new(),
    });
    let outcomes = book.counted.iter().filter(|(reason, _)| reason == "rollout");
    for (_, outcome) in outcomes {
        rollout.moved += outcome.moved;
        rollout.left += outcome.left;
        rollout.forced += outcome.forced;
        rollout.silent += outcome.silent;
    }
    // A drain of an earlier rollout may find its outcome in this one.
    rollout.unjudged = (rollout.unjudged + book.unjudged).max(0);
    if has_progressed(fleet, book, counts, activity) {
        rollout.progressed_at = now.clone();
    }
    // What is done is done: a pod that dies later, or more replicas, are no rollout.
    if rollout.finished_at.is_none() || fleet.old_active() > 0 {
        rollout.state = activity;
        rollout.finished_at = (activity == RolloutState::Complete).then_some(now);
    }
    rollout
}

/// Something happened since the stored status, or the clock does not run.
fn has_progressed(
    fleet: &Fleet<'_>,
    book: &Book,
    counts: PodCounts,
    activity: RolloutState,
) -> bool {
    let stored = &fleet.snapshot.pool.status;
    // A relay that starts, fails and starts again makes no progress.
    let still = |counts: PodCounts| PodCounts { starting: 0, ..counts };
    let remaining = |drains: &[baton_crds::DrainStatus]| -> i64 {
        drains.iter().map(|drain| drain.remaining).sum()
    };
    let runs = !matches!(activity, RolloutState::Paused | RolloutState::Complete);
    still(counts) != still(stored.counts)
        || remaining(&book.drains) < remaining(&stored.drains)
        || !book.counted.is_empty()
        || stored.observed_generation != Some(fleet.snapshot.pool.generation)
        || (runs && !ran(fleet))
}

/// By the stored condition, work was under way: it is neither new nor resumed.
fn ran(fleet: &Fleet<'_>) -> bool {
    let conditions = &fleet.snapshot.pool.status.conditions;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
        .is_some_and(|condition| !["Complete", "Paused"].contains(&condition.reason.as_str()))
}

fn is_stuck(fleet: &Fleet<'_>, rollout: &RolloutStatus, activity: RolloutState) -> bool {
    let patience = i64::from(fleet.snapshot.pool.spec.progress_deadline_seconds);
    let waited = fleet.now().as_second() - rollout.progressed_at.0.as_second();
    !matches!(activity, RolloutState::Complete | RolloutState::Paused) && waited >= patience
}

/// `None` while no pod has answered.
fn sessions(fleet: &Fleet<'_>) -> Option<i64> {
    let answers = fleet.all().filter(|pod| !pod.finished).filter_map(RelayPod::sessions);
    let sessions: Vec<i64> = answers.map(i64::from).collect();
    let nobody = fleet.all().next().is_none();
    (nobody || !sessions.is_empty()).then(|| sessions.iter().sum())
}

/// A status without what is no state: two that are equal in this need not be written at once.
fn state(status: &RelayPoolStatus) -> RelayPoolStatus {
    let mut state = status.clone();
    state.sessions = None;
    for drain in &mut state.drains {
        drain.at_flag = 0;
        drain.stragglers = 0;
        drain.remaining = 0;
        drain.moved = 0;
        drain.left = 0;
        drain.forced = 0;
        drain.silent = 0;
    }
    if let Some(rollout) = &mut state.rollout {
        rollout.progressed_at = whole_seconds(Timestamp::UNIX_EPOCH);
    }
    state
}

/// Is it time to write this?
pub(super) fn is_due(fleet: &Fleet<'_>, status: &RelayPoolStatus) -> bool {
    let stored = &fleet.snapshot.pool.status;
    if state(stored) != state(status) {
        return true;
    }
    let waited = |written: Timestamp| fleet.now().as_second() - written.as_second();
    stored != status
        && fleet.snapshot.numbers_written.is_none_or(|written| waited(written) >= NUMBERS_SECONDS)
}

/// A Secret is missing that pods use.
pub(super) fn lacks_secret(fleet: &Fleet<'_>) -> bool {
    let secrets = &fleet.snapshot.secrets;
    let missing =
        [secrets.pool, secrets.auth, secrets.ca, secrets.tls].contains(&Presence::Missing);
    missing && fleet.all().any(|pod| !pod.finished && !pod.is_stuck(fleet.now()))
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

const _: () = assert!(drain::BOOK_LENGTH == 32, "the schema of status.drains says 32");
