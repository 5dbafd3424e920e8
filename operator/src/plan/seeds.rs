//! Which siblings a pod is told, once, as soon as it has an address.

use super::action::{Action, Seed, Seeds};
use super::fleet::Fleet;
use super::snapshot::RelayPod;

pub(super) fn plan(fleet: &Fleet<'_>) -> impl Iterator<Item = Action> {
    let unseeded = |pod: &&RelayPod| !pod.has_seeds && pod.ip.is_some() && !pod.is_going();
    fleet
        .all()
        .filter(unseeded)
        .map(|pod| Action::Seed(pod.reference(), Box::new(seeds(fleet, pod))))
}

/// Two pods that get their addresses in the same moment are told of each other, and neither is first.
/// One that is being deleted still has sessions that the newcomer must know of.
fn seeds(fleet: &Fleet<'_>, pod: &RelayPod) -> Seeds {
    let siblings = fleet.all().filter(|other| other.uid != pod.uid && !other.finished);
    let pods: Vec<Seed> = siblings
        .filter_map(|other| Some(Seed { name: other.name.clone(), ip: other.ip.clone()? }))
        .collect();
    Seeds { first: pods.is_empty(), pods }
}
