//! What people are told when the status changes.

use baton_crds::{RelayPoolStatus, RolloutState};

use super::action::{Event, Outcome};
use super::drain::Book;

/// The Events of this step from one status to the next.
pub(super) fn between(stored: &RelayPoolStatus, next: &RelayPoolStatus, book: &Book) -> Vec<Event> {
    let mut events = Vec::new();
    rollout(stored, next, &mut events);
    for kind in ["Degraded", "Stalled"] {
        let find = |status: &RelayPoolStatus| {
            let mut conditions = status.conditions.iter();
            conditions
                .find(|condition| condition.type_ == kind && condition.status == "True")
                .cloned()
        };
        let Some(now) = find(next) else { continue };
        if find(stored).is_none_or(|then| then.reason != now.reason) {
            let reason = if kind == "Degraded" { "PoolDegraded" } else { "PoolStalled" };
            let note = format!("{}: {}", now.reason, now.message);
            events.push(Event { warning: true, reason, note });
        }
    }
    for (reason, outcome) in &book.counted {
        let note = format!("a drain ({reason}) ended: {}", sentence(outcome));
        events.push(Event { warning: outcome.forced > 0, reason: "DrainEnded", note });
    }
    events
}

fn rollout(stored: &RelayPoolStatus, next: &RelayPoolStatus, events: &mut Vec<Event>) {
    let Some(now) = &next.rollout else { return };
    let then = stored.rollout.as_ref().filter(|then| then.id == now.id);
    let complete = |state| state == RolloutState::Complete;
    if then.is_none() && !complete(now.state) {
        let note = format!("rollout {} begins", now.id);
        events.push(Event { warning: false, reason: "RolloutStarted", note });
    }
    if complete(now.state) && then.is_some_and(|then| !complete(then.state)) {
        let (moved, left, forced, silent) = (now.moved, now.left, now.forced, now.silent);
        let sums = sentence(&Outcome { moved, left, forced, silent });
        let note = format!("rollout {} is complete: {sums}", now.id);
        events.push(Event { warning: false, reason: "RolloutComplete", note });
    }
}

fn sentence(outcome: &Outcome) -> String {
    let Outcome { moved, left, forced, silent } = outcome;
    format!("{moved} sessions moved, {left} left, {forced} forced, {silent} silent")
}
