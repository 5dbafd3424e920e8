//! Who is let in at this end: what its owner has set, and which senders are of another group, as relays say.
//!
//! Relays go by the policy themselves. This is for what was under way when it changed, for relays that know no policies, and for
//! services that are for the group alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_protocol::attachment::Slot;
use baton_protocol::id::PeerId;
use baton_protocol::policy::{Policy, Verdict};

use crate::session::queue::lock;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Admission {
    policy: Mutex<Policy>,
    /// It is not the default, or was not once, and what came then may still be under way: then it is looked at.
    acts: AtomicBool,
    admits_strangers: AtomicBool,
    /// By the session whose relay named them.
    strangers: Mutex<BTreeMap<Slot, HashSet<PeerId>>>,
}

impl Admission {
    /// From now on this holds.
    pub(crate) fn set(&self, policy: &Policy) {
        lock(&self.policy).clone_from(policy);
        self.acts.fetch_or(!policy.is_default(), Ordering::AcqRel);
        self.admits_strangers.store(policy.admits_strangers(), Ordering::Release);
    }

    /// Whether the owner has said something of this peer by name.
    pub(crate) fn names(&self, peer: &PeerId) -> bool {
        let policy = lock(&self.policy);
        policy.allowed().contains(peer) || policy.blocked().contains(peer)
    }

    /// What the owner has set.
    pub(crate) fn policy(&self) -> Policy {
        lock(&self.policy).clone()
    }

    /// Whether what this peer sent is taken.
    pub(crate) fn lets_in(&self, peer: &PeerId) -> bool {
        // Mostly there is nothing to ask.
        if !self.acts.load(Ordering::Acquire) {
            return true;
        }
        let stranger = self.is_stranger(peer);
        lock(&self.policy).judge(peer, stranger) == Verdict::Admitted
    }

    /// Whether there may be senders of other groups.
    pub(crate) fn admits_strangers(&self) -> bool {
        self.admits_strangers.load(Ordering::Acquire)
    }

    /// Whether a relay said that this peer is of another group.
    pub(crate) fn is_stranger(&self, peer: &PeerId) -> bool {
        lock(&self.strangers).values().any(|strangers| strangers.contains(peer))
    }

    /// The relay of this session says so.
    pub(crate) fn add_stranger(&self, slot: Slot, peer: PeerId) {
        lock(&self.strangers).entry(slot).or_default().insert(peer);
    }

    /// What the relays of other sessions said is over: another one is in use, whose relay has said all anew.
    pub(crate) fn keep(&self, is_there: impl Fn(&Slot) -> bool) {
        lock(&self.strangers).retain(|slot, _| is_there(slot));
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::attachment::{Attachment, Output, Timing};
    use baton_protocol::frame::{PolicyMode, RuleVerb};

    use super::*;

    const PEER: PeerId = PeerId::from_bytes([1; 32]);
    const OTHER: PeerId = PeerId::from_bytes([2; 32]);

    fn slot() -> Slot {
        let now = std::time::Instant::now();
        let mut attachment = Attachment::new(Timing::default(), 1, now);
        let Some(Output::Dial { slot, .. }) = attachment.poll_output() else { panic!("no dial") };
        slot
    }

    #[test]
    fn what_was_under_way_when_it_became_narrow_is_not_let_in() {
        let admission = Admission::default();
        admission.add_stranger(slot(), PEER);
        let mut policy = Policy::new();
        policy.set_mode(PolicyMode::Any);
        admission.set(&policy);
        assert!(admission.admits_strangers() && admission.lets_in(&PEER));
        admission.set(&Policy::new());
        assert!(!admission.admits_strangers() && !admission.lets_in(&PEER));
        assert!(admission.lets_in(&OTHER));
        policy.rule(RuleVerb::Block, &[OTHER]).unwrap();
        admission.set(&policy);
        assert!(admission.lets_in(&PEER) && !admission.lets_in(&OTHER));
    }

    #[test]
    fn a_stranger_is_one_as_long_as_the_session_whose_relay_said_so() {
        let admission = Admission::default();
        admission.add_stranger(slot(), PEER);
        admission.keep(|_| true);
        assert!(admission.is_stranger(&PEER) && !admission.is_stranger(&OTHER));
        admission.keep(|_| false);
        assert!(!admission.is_stranger(&PEER));
    }
}
