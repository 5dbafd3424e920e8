//! Whom a receiver lets in. Its client sets it, by POLICY and RULE; its relay goes by it at each delivery; and the client keeps
//! it, to set it anew on its next session.
//!
//! ```text
//! blocked by name   -> refused, whatever else holds
//! allowed by name   -> let in
//! mode `any`        -> let in
//! mode `group`      -> let in if it is of the receiver's group, otherwise refused
//! mode `list`       -> refused; if it is of the receiver's group the receiver is told that it knocked
//! ```
//!
//! A name is a key, whatever group its peer is in: who allows a peer by name has said so. A knock is something that reaches the
//! receiver, so it is for those who could reach it anyway.

use std::collections::BTreeSet;

use crate::frame::{Frame, MAX_RULED, PolicyMode, Rule, RuleVerb};
use crate::id::PeerId;

/// Names that a list may have: those who are allowed, and those who are blocked.
pub const MAX_NAMES: usize = 1024;

/// What is done with a datagram of some sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is delivered.
    Admitted,
    /// It is dropped. For its sender it is as if the receiver were not there.
    Refused,
    /// It is dropped, and the receiver may be told who sent it.
    Knocks,
}

/// A list would be too long. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more than {MAX_NAMES} peers can be allowed, and as many blocked, by name")]
pub struct TooManyNames;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    mode: PolicyMode,
    allowed: BTreeSet<PeerId>,
    blocked: BTreeSet<PeerId>,
}

impl Policy {
    /// That of a session whose client has said nothing: the peers of its group, and no rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who is let in of those whom no rule names.
    #[must_use]
    pub const fn mode(&self) -> PolicyMode {
        self.mode
    }

    /// Sets that.
    pub const fn set_mode(&mut self, mode: PolicyMode) {
        self.mode = mode;
    }

    /// The peers that are let in by name.
    #[must_use]
    pub const fn allowed(&self) -> &BTreeSet<PeerId> {
        &self.allowed
    }

    /// The peers that are kept out by name.
    #[must_use]
    pub const fn blocked(&self) -> &BTreeSet<PeerId> {
        &self.blocked
    }

    /// Does what a rule says, wholly or not at all. What a list has already, or has not, is no error.
    pub fn rule(&mut self, verb: RuleVerb, peers: &[PeerId]) -> Result<(), TooManyNames> {
        let list = match verb {
            RuleVerb::Allow | RuleVerb::Disallow => &mut self.allowed,
            RuleVerb::Block | RuleVerb::Unblock => &mut self.blocked,
        };
        match verb {
            RuleVerb::Disallow | RuleVerb::Unblock => {
                for peer in peers {
                    list.remove(peer);
                }
            }
            RuleVerb::Allow | RuleVerb::Block => {
                let new: BTreeSet<_> = peers.iter().filter(|peer| !list.contains(peer)).collect();
                if list.len() + new.len() > MAX_NAMES {
                    return Err(TooManyNames);
                }
                list.extend(new);
            }
        }
        Ok(())
    }

    /// What to do with a datagram of this sender. A stranger is of another group than the receiver.
    #[must_use]
    pub fn judge(&self, sender: &PeerId, stranger: bool) -> Verdict {
        if self.blocked.contains(sender) {
            return Verdict::Refused;
        }
        if self.allowed.contains(sender) {
            return Verdict::Admitted;
        }
        match self.mode {
            PolicyMode::Any => Verdict::Admitted,
            PolicyMode::Group if !stranger => Verdict::Admitted,
            PolicyMode::List if !stranger => Verdict::Knocks,
            PolicyMode::Group | PolicyMode::List => Verdict::Refused,
        }
    }

    /// Whether it is that of a client that has said nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.mode == PolicyMode::Group && self.allowed.is_empty() && self.blocked.is_empty()
    }

    /// Whether it keeps anyone out whom the default would let in: then nothing may come before it is set.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.mode == PolicyMode::List || !self.blocked.is_empty()
    }

    /// Whether there may be peers of other groups that it lets in.
    #[must_use]
    pub fn admits_strangers(&self) -> bool {
        self.mode == PolicyMode::Any || !self.allowed.is_empty()
    }

    /// The frames that set it on a session which has the default. POLICY is the last: whoever waits for it has all of it then.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        let rules = |verb, list: &BTreeSet<PeerId>| -> Vec<Frame> {
            let peers: Vec<_> = list.iter().copied().collect();
            let rule = |peers: &[PeerId]| Frame::Rule(Rule { verb, peers: peers.to_vec() });
            peers.chunks(MAX_RULED).map(rule).collect()
        };
        let mut frames = rules(RuleVerb::Block, &self.blocked);
        frames.extend(rules(RuleVerb::Allow, &self.allowed));
        frames.push(Frame::Policy { mode: self.mode });
        frames
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    fn peers(numbers: std::ops::Range<u16>) -> Vec<PeerId> {
        numbers.map(peer).collect()
    }

    #[test]
    fn who_is_let_in_by_mode_and_name() {
        use {PolicyMode::*, Verdict::*};
        // (mode, allowed, blocked) -> what becomes of a peer of the group, and of a stranger
        let table = [
            (Group, false, false, Admitted, Refused),
            (Group, true, false, Admitted, Admitted),
            (Group, false, true, Refused, Refused),
            (Group, true, true, Refused, Refused),
            (List, false, false, Knocks, Refused),
            (List, true, false, Admitted, Admitted),
            (List, false, true, Refused, Refused),
            (List, true, true, Refused, Refused),
            (Any, false, false, Admitted, Admitted),
            (Any, true, false, Admitted, Admitted),
            (Any, false, true, Refused, Refused),
            (Any, true, true, Refused, Refused),
        ];
        for (mode, allowed, blocked, of_the_group, stranger) in table {
            let mut policy = Policy::new();
            policy.set_mode(mode);
            for (named, verb) in [(allowed, RuleVerb::Allow), (blocked, RuleVerb::Block)] {
                if named {
                    policy.rule(verb, &[peer(1)]).unwrap();
                }
            }
            let judged = [false, true].map(|stranger| policy.judge(&peer(1), stranger));
            assert_eq!(judged, [of_the_group, stranger], "{mode:?}, {allowed}, {blocked}");
            assert!(policy.admits_strangers() || judged[1] == Refused);
            assert!(policy.narrows() || judged[0] == Admitted);
        }
    }

    #[test]
    fn a_list_that_is_full_takes_nothing_of_what_is_too_much() {
        for (add, remove) in
            [(RuleVerb::Allow, RuleVerb::Disallow), (RuleVerb::Block, RuleVerb::Unblock)]
        {
            let mut policy = Policy::new();
            policy.rule(add, &peers(0..1023)).unwrap();
            let before = policy.clone();
            assert_eq!(policy.rule(add, &peers(1023..1025)), Err(TooManyNames));
            assert_eq!(policy, before);
            policy.rule(add, &[peer(1023), peer(1023), peer(5)]).unwrap();
            policy.rule(add, &peers(0..256)).unwrap();
            assert_eq!(policy.rule(add, &[peer(2000)]), Err(TooManyNames));
            policy.rule(remove, &[peer(7), peer(3000)]).unwrap();
            policy.rule(add, &[peer(2000)]).unwrap();
        }
    }

    #[test]
    fn the_longest_policy_is_set_by_frames_that_fit() {
        let mut policy = Policy::new();
        policy.rule(RuleVerb::Allow, &peers(0..1024)).unwrap();
        policy.rule(RuleVerb::Block, &peers(1024..2048)).unwrap();
        policy.set_mode(PolicyMode::List);
        let frames = policy.frames();
        assert_eq!(frames.len(), 9);
        assert!(frames.iter().all(|frame| frame.encode().len() < crate::frame::MAX_BODY));
    }

    fn verbs() -> impl Strategy<Value = RuleVerb> {
        prop::sample::select(&RuleVerb::ALL[..])
    }

    proptest! {
        /// The last rule of each list that names a peer holds for it; being blocked counts before all else.
        #[test]
        fn the_last_rule_holds(
            rules in vec((verbs(), vec(0..8_u16, 0..4)), 0..20),
            mode in prop::sample::select(&PolicyMode::ALL[..]),
        ) {
            let mut policy = Policy::new();
            policy.set_mode(mode);
            let mut last: BTreeMap<(bool, u16), RuleVerb> = BTreeMap::new();
            for (verb, named) in &rules {
                let names: Vec<_> = named.iter().copied().map(peer).collect();
                policy.rule(*verb, &names).unwrap();
                let blocks = matches!(verb, RuleVerb::Block | RuleVerb::Unblock);
                last.extend(named.iter().map(|number| ((blocks, *number), *verb)));
            }
            for number in 0..8 {
                let blocked = last.get(&(true, number)) == Some(&RuleVerb::Block);
                let allowed = last.get(&(false, number)) == Some(&RuleVerb::Allow);
                for stranger in [false, true] {
                    let expected = !blocked
                        && (allowed
                            || mode == PolicyMode::Any
                            || mode == PolicyMode::Group && !stranger);
                    let verdict = policy.judge(&peer(number), stranger);
                    prop_assert_eq!(verdict == Verdict::Admitted, expected);
                    let knocks = !expected && !blocked && !stranger && mode == PolicyMode::List;
                    prop_assert_eq!(verdict == Verdict::Knocks, knocks);
                }
            }
        }

        #[test]
        fn a_policy_comes_back_from_its_frames(
            rules in vec((verbs(), vec(0..1000_u16, 0..600)), 0..4),
            mode in prop::sample::select(&PolicyMode::ALL[..]),
        ) {
            let mut policy = Policy::new();
            policy.set_mode(mode);
            for (verb, named) in rules {
                let names: Vec<_> = named.into_iter().map(peer).collect();
                policy.rule(verb, &names).unwrap();
            }
            let mut again = Policy::new();
            for frame in policy.frames() {
                match frame {
                    Frame::Policy { mode } => again.set_mode(mode),
                    Frame::Rule(Rule { verb, peers }) => again.rule(verb, &peers).unwrap(),
                    other => panic!("{} sets no policy", other.name()),
                }
            }
            prop_assert_eq!(again.is_default(), policy.is_default());
            prop_assert_eq!(again, policy);
        }
    }
}
