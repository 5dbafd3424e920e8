//! The pods by what they do: computed once, so that every step of the plan means the same by it.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::action::PodRef;
use super::limits::Limits;
use super::snapshot::{RelayPod, Snapshot};
use crate::revision::Rolls;

/// The pods of a pool, and what they are measured by.
pub(super) struct Fleet<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) limits: Limits,
    /// What pods shall be made of, and its hash.
    pub(super) target_rolls: Rolls,
    pub(super) target: String,
    /// In the order of their names, so that a plan does not depend on the order of a list.
    pods: Vec<&'a RelayPod>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let target_rolls = Rolls::of(&snapshot.pool.spec);
        let by_name: BTreeMap<_, _> =
            snapshot.pods.iter().map(|pod| ((&pod.name, &pod.uid), pod)).collect();
        Self {
            snapshot,
            limits: Limits::of(&snapshot.pool.spec),
            target: target_rolls.hash(),
            target_rolls,
            pods: by_name.into_values().collect(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a RelayPod> + '_ {
        self.pods.iter().copied()
    }

    /// Neither draining nor going.
    pub(super) fn active(&self) -> impl Iterator<Item = &'a RelayPod> + '_ {
        self.all().filter(|pod| pod.is_active())
    }

    /// With a flag, and not going.
    pub(super) fn draining(&self) -> impl Iterator<Item = &'a RelayPod> + '_ {
        self.all().filter(|pod| pod.is_draining())
    }

    pub(super) fn is_new(&self, pod: &RelayPod) -> bool {
        pod.revision == self.target
    }

    /// It serves, and has for long enough that an old pod may go for it.
    pub(super) fn is_available(&self, pod: &RelayPod) -> bool {
        pod.is_available(self.now(), self.snapshot.pool.spec.min_ready_seconds)
    }

    pub(super) fn serving(&self) -> usize {
        self.all().filter(|pod| pod.serves()).count()
    }

    pub(super) fn new_active(&self) -> usize {
        self.active().filter(|pod| self.is_new(pod)).count()
    }

    pub(super) fn new_available(&self) -> usize {
        self.all().filter(|pod| self.is_new(pod) && self.is_available(pod)).count()
    }

    pub(super) fn old_active(&self) -> usize {
        self.active().filter(|pod| !self.is_new(pod)).count()
    }

    /// What the floor is held with: old pods that serve, and new ones that have shown that they do.
    pub(super) fn dependable(&self) -> usize {
        let counts =
            |pod: &&RelayPod| pod.serves() && (!self.is_new(pod) || self.is_available(pod));
        self.all().filter(counts).count()
    }

    /// What the ceiling counts.
    pub(super) fn standing(&self) -> usize {
        self.all().filter(|pod| !pod.is_stuck(self.now())).count()
    }

    /// Every pod is new, serves, and nothing else is left.
    pub(super) fn is_settled(&self) -> bool {
        self.new_available() == self.limits.replicas && self.standing() == self.limits.replicas
    }
}

impl RelayPod {
    /// The pod exactly as it was seen.
    pub(super) fn reference(&self) -> PodRef {
        PodRef {
            name: self.name.clone(),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
        }
    }
}
