//! The end of a pool: its pods are told that there is nobody left to go to, then they go, then the
//! finalizer; the garbage collector takes the rest. Bounded: nobody waits longer for a pool to go than its
//! grace and half a minute.

use baton_crds::OnDelete;
use k8s_openapi::jiff::Timestamp;

use super::action::{Action, Gone, Reason};
use super::drain::{Verdict, judge};
use super::fleet::Fleet;
use super::rollout;
use super::snapshot::RelayPod;

/// What the pods get beyond the grace.
const MARGIN_SECONDS: i64 = 30;

pub(super) fn plan(fleet: &Fleet<'_>, deleted_at: Timestamp) -> Vec<Action> {
    let pool = &fleet.snapshot.pool;
    if !pool.has_finalizer {
        return Vec::new();
    }
    let patience = i64::from(pool.spec.drain.grace_seconds) + MARGIN_SECONDS;
    let waited = fleet.now().as_second() - deleted_at.as_second();
    let over = pool.namespace_terminating
        || pool.spec.drain.on_delete == OnDelete::Immediate
        || fleet.standing() == 0
        || waited > patience;
    if over {
        return vec![Action::ReleasePool];
    }
    let staying = fleet.all().filter(|pod| pod.terminating_until.is_none());
    staying.filter_map(|pod| step(fleet, pod)).collect()
}

/// Nothing waits for the book here: it goes with the pool.
fn step(fleet: &Fleet<'_>, pod: &RelayPod) -> Option<Action> {
    match &pod.flag {
        Some(flag) if flag.is_foreign() => Some(Action::Undrain(pod.reference())),
        Some(flag) => match judge(fleet, pod, flag) {
            Verdict::Running => None,
            Verdict::Over(gone, _) => Some(Action::DeletePod(pod.reference(), gone)),
        },
        None if pod.may_have_sessions() => Some(rollout::order(fleet, pod, Reason::Closing)),
        None => Some(Action::DeletePod(pod.reference(), Gone::Unused)),
    }
}
