//! The objects around the pods, in the order in which they must be there: a pod whose Secret is missing
//! costs a back-off.

use baton_crds::BudgetPolicy;

use super::action::{Action, SecretKind};
use super::fleet::Fleet;
use super::report::{Blocked, Report, Waiting};
use super::snapshot::{Presence, Revision};
use crate::render;

/// The steps, and whether pods can be started with what is there now.
pub(super) fn plan(fleet: &Fleet<'_>, report: &mut Report) -> (Vec<Action>, bool) {
    let mut actions = Vec::new();
    let ready = secrets(fleet, &mut actions, report);
    revisions(fleet, &mut actions);
    applied(fleet, &mut actions);
    (actions, ready)
}

/// A Secret is made only for a pool without pods. Where pods live, its content is in use: another one
/// would cut their sessions from each other, or their clients from them, without a word.
fn secrets(fleet: &Fleet<'_>, actions: &mut Vec<Action>, report: &mut Report) -> bool {
    let secrets = &fleet.snapshot.secrets;
    let pool = &fleet.snapshot.pool;
    let has_pods = fleet.all().any(|pod| !pod.finished && !pod.is_stuck(fleet.now()));
    let mut ready = true;
    for (kind, presence) in [
        (SecretKind::Pool, secrets.pool),
        (SecretKind::Auth, secrets.auth),
        (SecretKind::Authority, secrets.ca),
        (SecretKind::Certificate, secrets.tls),
    ] {
        ready &= presence == Presence::Present;
        match presence {
            Presence::Present => {}
            Presence::Missing if has_pods => {
                report.blocked.push(Blocked::SecretMissing { name: kind.name(&pool.name) });
            }
            Presence::Missing => actions.push(Action::CreateSecret(kind)),
            Presence::Unknown => report.waiting.push(Waiting::Secrets),
        }
    }
    ready
}

/// The wanted revision is kept from before its first pod on. Of those without pods, the latest stay.
fn revisions(fleet: &Fleet<'_>, actions: &mut Vec<Action>) {
    let pool = &fleet.snapshot.pool;
    let revisions = &fleet.snapshot.revisions;
    if !revisions.iter().any(|revision| revision.hash == fleet.target) {
        let number = revisions.iter().map(|revision| revision.number).max().unwrap_or(0) + 1;
        let revision = render::revision::render(pool, &fleet.target_rolls, &fleet.target, number);
        actions.push(Action::CreateRevision(Box::new(revision)));
    }
    let current = pool.status.revisions.current.as_deref();
    let needed = |revision: &&Revision| {
        revision.hash == fleet.target
            || current == Some(revision.hash.as_str())
            || fleet.all().any(|pod| pod.revision == revision.hash)
    };
    let mut unneeded: Vec<&Revision> =
        revisions.iter().filter(|revision| !needed(revision)).collect();
    unneeded.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let kept = usize::try_from(pool.spec.revision_history_limit).unwrap_or_default();
    actions.extend(unneeded.into_iter().skip(kept).map(|revision| Action::DeleteRevision {
        name: revision.name.clone(),
        uid: revision.uid.clone(),
    }));
}

fn applied(fleet: &Fleet<'_>, actions: &mut Vec<Action>) {
    let pool = &fleet.snapshot.pool;
    let objects = &fleet.snapshot.objects;
    if let Some(certificate) = &fleet.snapshot.secrets.ca_certificate {
        let addresses = render::service::addresses(pool, objects.service.as_ref());
        let client = render::client::render(pool, certificate, &addresses);
        if !render::is_applied(objects.client.as_ref(), &client) {
            actions.push(Action::ApplyClientConfig(Box::new(client)));
        }
    }
    let service = render::service::render(pool);
    if !render::is_applied(objects.service.as_ref(), &service) {
        actions.push(Action::ApplyService(Box::new(service)));
    }
    match pool.spec.disruption.pod_disruption_budget {
        BudgetPolicy::Managed => {
            let budget = render::budget::render(pool);
            if !render::is_applied(objects.budget.as_ref(), &budget) {
                actions.push(Action::ApplyBudget(Box::new(budget)));
            }
        }
        BudgetPolicy::None if objects.budget.is_some() => actions.push(Action::DeleteBudget),
        BudgetPolicy::None => {}
    }
}
