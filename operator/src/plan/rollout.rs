//! Which pods are made, drained, un-drained and deleted: the heart of the operator.
//!
//! What holds, whatever happens to the pods meanwhile (`tests/properties.rs`):
//! - No action lets fewer pods serve than the floor.
//! - An old pod that serves is touched only for a new one that does.
//! - A pod that may have sessions is deleted only when its drain is over and its outcome is stored.
//! - What is wanted again is un-drained before anything else is drained or deleted.
//! - There are never more pods than the ceiling by an act of the operator.

use super::action::{Action, DrainOrder, Gone, Reason};
use super::drain::{Verdict, is_closed, judge};
use super::fleet::Fleet;
use super::snapshot::RelayPod;
use crate::names;
use crate::render;

/// The steps for the pods, in order.
pub(super) fn plan(fleet: &Fleet<'_>, may_start: bool) -> Vec<Action> {
    let undrain = undrain(fleet);
    if !undrain.is_empty() {
        // Everything else follows from what the pods are after this.
        return undrain;
    }
    let mut actions = finish(fleet);
    let spec = &fleet.snapshot.pool.spec;
    // A pool without its Secrets can still be taken down, which is how it gets new ones.
    if (may_start || fleet.limits.replicas == 0) && !spec.paused {
        let dropped = drop_unused(fleet);
        // One kind of step at a time: the next snapshot shows what it did to the counts.
        if dropped.is_empty() {
            actions.extend(drain(fleet));
        }
        actions.extend(dropped);
    }
    if may_start {
        actions.extend(create(fleet));
    }
    actions
}

/// Takes flags away: from pods that are wanted again, from any that serve if the floor is no longer held
/// without them, and where somebody else has set them.
fn undrain(fleet: &Fleet<'_>) -> Vec<Action> {
    let missing_new = fleet.limits.replicas.saturating_sub(fleet.new_active());
    let mut missing_serving = fleet.limits.floor.saturating_sub(fleet.serving());
    let mut wanted = missing_new;
    let mut actions = Vec::new();
    // Wanted pods first: they stay.
    let (new, old): (Vec<_>, Vec<_>) = fleet.draining().partition(|pod| fleet.is_new(pod));
    for pod in new.into_iter().chain(old) {
        let Some(flag) = &pod.flag else { continue };
        if pod.exited_since_flag() && !flag.is_foreign() {
            continue;
        }
        let is_ready = pod.ready_since.is_some();
        let takes_new = fleet.is_new(pod) && wanted > 0;
        let takes_floor = is_ready && missing_serving > 0;
        let ignored = matches!(judge(fleet, pod, flag), Verdict::Over(Gone::NotAcknowledged, _));
        if flag.is_foreign() || (takes_new || takes_floor) && !ignored {
            wanted = wanted.saturating_sub(usize::from(fleet.is_new(pod)));
            missing_serving = missing_serving.saturating_sub(usize::from(is_ready));
            actions.push(Action::Undrain(pod.reference()));
        }
    }
    actions
}

/// Deletes pods whose drain is over and written down, and those of which nothing runs.
fn finish(fleet: &Fleet<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for pod in fleet.all().filter(|pod| pod.terminating_until.is_none()) {
        match &pod.flag {
            Some(flag) if !flag.is_foreign() => {
                if let Verdict::Over(gone, _) = judge(fleet, pod, flag)
                    && is_closed(fleet, pod, flag)
                {
                    actions.push(Action::DeletePod(pod.reference(), gone));
                }
            }
            _ if pod.finished => {
                actions.push(Action::DeletePod(pod.reference(), Gone::Finished));
            }
            _ => {}
        }
    }
    actions
}

/// Deletes pods without sessions that are not wanted: they cost nobody anything.
fn drop_unused(fleet: &Fleet<'_>) -> Vec<Action> {
    let unused = |pod: &&RelayPod| !pod.serves() && !pod.may_have_sessions();
    let mut actions: Vec<Action> = fleet
        .active()
        .filter(|pod| !fleet.is_new(pod))
        .filter(unused)
        .take(spare(fleet))
        .map(|pod| Action::DeletePod(pod.reference(), Gone::Unused))
        .collect();
    let surplus = fleet.new_active().saturating_sub(fleet.limits.replicas);
    actions.extend(
        fleet
            .active()
            .filter(|pod| fleet.is_new(pod))
            .filter(unused)
            .take(surplus)
            .map(|pod| Action::DeletePod(pod.reference(), Gone::Unused)),
    );
    actions
}

/// How many old pods that do not serve may go: those beyond the floor, if every new one that does not
/// serve yet never does. Such a pod may only be starting again, and would serve if it is left alone.
fn spare(fleet: &Fleet<'_>) -> usize {
    let active = fleet.active().count();
    let unproven = fleet.new_active() - fleet.new_available();
    active.saturating_sub(fleet.limits.floor + unproven)
}

/// Sets flags: as many as may drain at the same time, as long as the floor holds without them.
fn drain(fleet: &Fleet<'_>) -> Vec<Action> {
    let limits = fleet.limits;
    let mut slots = limits.draining.saturating_sub(fleet.draining().count());
    let mut serving = fleet.serving();
    let mut dependable = fleet.dependable();
    let mut actions = Vec::new();
    for victim in victims(fleet) {
        if slots == 0 {
            break;
        }
        if victim.pod.serves() {
            let depends = usize::from(!fleet.is_new(victim.pod) || fleet.is_available(victim.pod));
            if serving <= limits.floor || dependable < limits.floor + depends {
                continue;
            }
            serving -= 1;
            dependable -= depends;
        }
        slots -= 1;
        actions.push(order(fleet, victim.pod, victim.reason));
    }
    actions
}

struct Victim<'a> {
    pod: &'a RelayPod,
    reason: Reason,
}

/// Who is to go, the cheapest first: those that do not serve, then old ones, then the new ones with the
/// fewest sessions that are too many.
fn victims<'a>(fleet: &Fleet<'a>) -> Vec<Victim<'a>> {
    let (replicas, closing) = (fleet.limits.replicas, fleet.limits.replicas == 0);
    let reason = |reason| if closing { Reason::Closing } else { reason };
    let (new, old): (Vec<_>, Vec<_>) = fleet.active().partition(|pod| fleet.is_new(pod));
    let (old_serving, old_silent): (Vec<&RelayPod>, Vec<&RelayPod>) =
        old.iter().copied().partition(|pod| pod.serves());

    let silent = old_silent.into_iter().filter(|pod| pod.may_have_sessions()).take(spare(fleet));
    let mut victims: Vec<Victim<'_>> =
        silent.map(|pod| Victim { pod, reason: reason(Reason::Rollout) }).collect();

    let proven = fleet.limits.surge == 0 || fleet.new_available() > 0 || closing;
    // Until a new pod serves, old ones go only as far as there are too many even without it.
    let (old_allowed, why) = if proven {
        (usize::MAX, Reason::Rollout)
    } else {
        (old.len().saturating_sub(replicas), Reason::ScaleDown)
    };
    let old_serving = old_serving.into_iter().take(old_allowed);
    victims.extend(old_serving.map(|pod| Victim { pod, reason: reason(why) }));

    let surplus = new.len().saturating_sub(replicas);
    let mut new: Vec<_> =
        new.into_iter().filter(|pod| pod.serves() || pod.may_have_sessions()).collect();
    new.sort_by_key(|pod| (pod.serves(), pod.sessions().unwrap_or(0), pod.name.clone()));
    let new = new.into_iter().take(surplus);
    victims.extend(new.map(|pod| Victim { pod, reason: reason(Reason::ScaleDown) }));
    victims
}

/// The flag of one pod.
pub(super) fn order(fleet: &Fleet<'_>, pod: &RelayPod, reason: Reason) -> Action {
    let drain = &fleet.snapshot.pool.spec.drain;
    // The pool's pace, divided among as many as may drain at the same time.
    let draining = i32::try_from(fleet.limits.draining).unwrap_or(i32::MAX);
    let pace = drain.max_sessions_per_second;
    let order = DrainOrder {
        count: pod.drain_count + 1,
        grace_seconds: drain.grace_seconds,
        reason,
        max_sessions_per_second: if pace > 0 { (pace / draining).max(1) } else { 0 },
        at: fleet.now(),
        restarts: pod.restarts,
    };
    Action::Drain(pod.reference(), Box::new(order))
}

/// Makes pods: first what old pods that died leave open while no new one has shown that it serves, then
/// new ones.
fn create(fleet: &Fleet<'_>) -> Vec<Action> {
    let limits = fleet.limits;
    let active = fleet.active().count();
    let has_old = fleet.old_active() > 0;
    let room = limits.ceiling.saturating_sub(fleet.standing());
    let surge = if has_old { limits.surge } else { 0 };
    let space = (limits.replicas + surge).saturating_sub(active).min(room);
    let missing_new = limits.replicas.saturating_sub(fleet.new_active());

    let (old, new) = match earlier(fleet) {
        Some(_) if fleet.snapshot.pool.spec.paused => {
            (limits.replicas.saturating_sub(active).min(room), 0)
        }
        Some(_) if has_old && fleet.new_available() == 0 => {
            let old = limits.floor.saturating_sub(fleet.old_active()).min(space);
            (old, missing_new.min(space - old))
        }
        _ if fleet.snapshot.pool.spec.paused => {
            (0, limits.replicas.saturating_sub(active).min(room))
        }
        _ => (0, missing_new.min(space)),
    };
    let mut taken: Vec<String> = fleet.all().map(|pod| pod.name.clone()).collect();
    let mut actions = Vec::new();
    for n in 0..old + new {
        let (hash, rolls) = match earlier(fleet) {
            Some((hash, rolls)) if n < old => (hash, rolls),
            _ => (fleet.target.as_str(), &fleet.target_rolls),
        };
        let pool = &fleet.snapshot.pool;
        let name = free_name(&pool.name, hash, &taken);
        taken.push(name.clone());
        actions.push(Action::CreatePod(Box::new(render::pod::render(pool, rolls, hash, name))));
    }
    actions
}

/// The last revision that all pods had, if it is not the wanted one and can still be made.
fn earlier<'a>(fleet: &Fleet<'a>) -> Option<(&'a str, &'a crate::revision::Rolls)> {
    let current = fleet.snapshot.pool.status.revisions.current.as_deref()?;
    if current == fleet.target {
        return None;
    }
    let revision = fleet.snapshot.revisions.iter().find(|revision| revision.hash == current)?;
    Some((current, revision.rolls.as_ref()?))
}

/// The smallest number that no pod has, not even one that is going: a creation that is tried again is a
/// conflict, not a twin.
fn free_name(pool: &str, hash: &str, taken: &[String]) -> String {
    // Of so many names one is free.
    (0..=taken.len())
        .map(|number| names::pod(pool, hash, number))
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| names::pod(pool, hash, taken.len()))
}
