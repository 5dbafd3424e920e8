//! Who may send to a session, and what its client calls them.
//!
//! Every datagram for a session asks here, under the one lock that it takes for its sender's alias anyway: whoever was let in
//! has an entry that says so, and a change of the policy goes through the entries. So the policy itself is looked at for the
//! first datagram of a sender, and for those that are refused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use baton_protocol::frame::{PolicyMode, Rule};
use baton_protocol::id::PeerId;
use baton_protocol::policy::{Policy, TooManyNames, Verdict};
use baton_protocol::session::Limits;

use super::refusals::Refusals;
use crate::metrics::Dropped;

/// How often a client may set the mode in a second: each time all its senders are judged anew. A rule is about those whom it
/// names, and costs no more than they do.
const MODES: u32 = 16;
const MODE_INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / MODES as u64);

/// A client sets the mode more often than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOften;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Senders {
    known: HashMap<PeerId, Known>,
    /// Whoever was let in last, and whether as a stranger: mostly the next datagram is of the same. Whatever changes an entry
    /// clears it.
    last: Option<(PeerId, bool, Option<u64>)>,
    /// None while it is the default, as nearly always.
    policy: Option<Box<Policy>>,
    /// When the client will have used up none of the modes that it may set.
    modes_at: Option<Instant>,
    refusals: Option<Box<Refusals>>,
}

/// A sender that was let in.
#[derive(Debug)]
struct Known {
    /// By which the client knows it.
    alias: Option<u64>,
    /// It is of another group.
    stranger: bool,
    /// It still is let in.
    admitted: bool,
}

/// What to do with a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// It is delivered: by this alias, if the client knows the sender by one.
    Admitted(Option<u64>),
    /// It is delivered, and the client is to be told of its sender.
    New,
    /// It is dropped, for this reason.
    Refused(Dropped),
    /// It is dropped, and the client is to be told that its sender knocks.
    Knocks,
}

impl Senders {
    /// Judges a datagram of this sender, who is of another group if it is a stranger.
    pub(super) fn judge(&mut self, sender: PeerId, stranger: bool) -> Judged {
        if let Some((last, was_stranger, alias)) = self.last
            && last == sender
            && was_stranger == stranger
        {
            return Judged::Admitted(alias);
        }
        if let Some(known) = self.known.get(&sender)
            && known.admitted
            && known.stranger == stranger
        {
            self.last = Some((sender, stranger, known.alias));
            return Judged::Admitted(known.alias);
        }
        match self.verdict(&sender, stranger) {
            Verdict::Admitted => self.admit(sender, stranger),
            // A stranger, where nobody said that any may come: for all it is as if there were no receiver.
            _ if self.policy.is_none() => Judged::Refused(Dropped::Offline),
            Verdict::Refused => Judged::Refused(Dropped::Policy),
            Verdict::Knocks if self.refusals().knocks(sender, Instant::now()) => Judged::Knocks,
            Verdict::Knocks => Judged::Refused(Dropped::Policy),
        }
    }

    fn verdict(&self, sender: &PeerId, stranger: bool) -> Verdict {
        match &self.policy {
            Some(policy) => policy.judge(sender, stranger),
            None if stranger => Verdict::Refused,
            None => Verdict::Admitted,
        }
    }

    /// Lets a sender in that has no entry, or one that is not right any more.
    fn admit(&mut self, sender: PeerId, stranger: bool) -> Judged {
        self.last = None;
        if let Some(known) = self.known.get_mut(&sender) {
            // It was refused meanwhile, or it is of another group than it was.
            let is_news = stranger && !known.stranger;
            (known.stranger, known.admitted) = (stranger, true);
            let alias = known.alias;
            return if is_news { Judged::New } else { Judged::Admitted(alias) };
        }
        if self.known.len() >= Limits::default().senders {
            return Judged::Admitted(None);
        }
        self.known.insert(sender, Known { alias: None, stranger, admitted: true });
        Judged::New
    }

    /// The client knows this sender by this alias.
    pub(super) fn named(&mut self, sender: &PeerId, alias: u64) {
        self.last = None;
        if let Some(known) = self.known.get_mut(sender) {
            known.alias = Some(alias);
        }
    }

    /// The client could not be told of this sender: its next datagram is a first one.
    pub(super) fn forget(&mut self, sender: &PeerId) {
        self.last = None;
        self.known.remove(sender);
    }

    /// The client could not be told that this sender knocks.
    pub(super) fn not_heard(&mut self, sender: &PeerId) {
        self.refusals().answered(sender);
    }

    /// Whether the relay of this sender, whose datagram was refused, is to be told.
    pub(super) fn may_be_told(&mut self, sender: PeerId) -> bool {
        self.refusals().may_be_told(sender, Instant::now())
    }

    /// Sets what becomes of those whom no rule names. Gives those who were let in and are no more.
    pub(super) fn set_mode(
        &mut self,
        mode: PolicyMode,
        now: Instant,
    ) -> Result<Vec<PeerId>, TooOften> {
        let modes_at = self.modes_at.map_or(now, |at| at.max(now)) + MODE_INTERVAL;
        if modes_at > now + MODE_INTERVAL * MODES {
            return Err(TooOften);
        }
        self.modes_at = Some(modes_at);
        self.policy().set_mode(mode);
        if let Some(refusals) = &mut self.refusals {
            refusals.forget_knocks();
        }
        let known: Vec<_> = self.known.keys().copied().collect();
        Ok(self.judge_anew(&known))
    }

    /// Does what a rule says. Gives those who were let in and are no more.
    pub(super) fn rule(&mut self, rule: &Rule) -> Result<Vec<PeerId>, TooManyNames> {
        self.policy().rule(rule.verb, &rule.peers)?;
        if let Some(refusals) = &mut self.refusals {
            rule.peers.iter().for_each(|peer| refusals.answered(peer));
        }
        Ok(self.judge_anew(&rule.peers))
    }

    /// Whether there may be peers of other groups that are let in.
    pub(super) fn admits_strangers(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.admits_strangers())
    }

    fn judge_anew(&mut self, peers: &[PeerId]) -> Vec<PeerId> {
        self.last = None;
        self.policy.take_if(|policy| policy.is_default());
        let mut refused = Vec::new();
        for peer in peers {
            let Some(known) = self.known.get(peer) else { continue };
            let admitted = self.verdict(peer, known.stranger) == Verdict::Admitted;
            if let Some(known) = self.known.get_mut(peer)
                && std::mem::replace(&mut known.admitted, admitted)
                && !admitted
            {
                refused.push(*peer);
            }
        }
        refused
    }

    fn policy(&mut self) -> &mut Policy {
        self.policy.get_or_insert_default()
    }

    fn refusals(&mut self) -> &mut Refusals {
        self.refusals.get_or_insert_with(|| Box::new(Refusals::new(Instant::now())))
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::frame::RuleVerb;

    use super::*;

    const A: PeerId = PeerId::from_bytes([1; 32]);
    const B: PeerId = PeerId::from_bytes([2; 32]);
    const REFUSED: Judged = Judged::Refused(Dropped::Policy);

    fn set_mode(senders: &mut Senders, mode: PolicyMode) -> Vec<PeerId> {
        senders.set_mode(mode, Instant::now()).unwrap()
    }

    fn rule(senders: &mut Senders, verb: RuleVerb, peer: PeerId) -> Vec<PeerId> {
        senders.rule(&Rule { verb, peers: vec![peer] }).unwrap()
    }

    #[test]
    fn a_sender_is_new_once_and_then_known_by_its_alias() {
        let mut senders = Senders::default();
        let judged = [A, A, B].map(|peer| senders.judge(peer, false));
        assert_eq!(judged, [Judged::New, Judged::Admitted(None), Judged::New]);
        senders.named(&A, 16);
        assert_eq!(senders.judge(A, false), Judged::Admitted(Some(16)));
        senders.forget(&B);
        assert_eq!(senders.judge(B, false), Judged::New);
    }

    #[test]
    fn the_default_refuses_strangers_without_a_word_and_remembers_nothing_of_them() {
        let mut senders = Senders::default();
        for _ in 0..2 {
            assert_eq!(senders.judge(A, true), Judged::Refused(Dropped::Offline));
        }
        assert_eq!(senders.judge(A, false), Judged::New);
        assert_eq!(
            senders.judge(A, true),
            Judged::Refused(Dropped::Offline),
            "of its group no more"
        );
        assert_eq!(senders.judge(A, false), Judged::Admitted(None));
        assert!(senders.refusals.is_none() && senders.policy.is_none());
    }

    #[test]
    fn who_is_blocked_is_refused_with_the_next_datagram_and_keeps_its_alias_for_later() {
        let mut senders = Senders::default();
        senders.judge(A, false);
        senders.named(&A, 16);
        assert_eq!(rule(&mut senders, RuleVerb::Block, A), [A]);
        assert_eq!(rule(&mut senders, RuleVerb::Block, A), []);
        assert_eq!([A, A].map(|peer| senders.judge(peer, false)), [REFUSED, REFUSED]);
        assert_eq!(rule(&mut senders, RuleVerb::Allow, A), []);
        assert_eq!(senders.judge(A, false), REFUSED, "being blocked counts before all else");
        assert_eq!(rule(&mut senders, RuleVerb::Disallow, A), []);
        assert_eq!(rule(&mut senders, RuleVerb::Unblock, A), []);
        assert_eq!(senders.judge(A, false), Judged::Admitted(Some(16)));
        assert!(senders.policy.is_none(), "it is the default again");
    }

    #[test]
    fn with_a_list_others_knock_once_until_they_are_answered() {
        let mut senders = Senders::default();
        senders.judge(A, false);
        assert_eq!(set_mode(&mut senders, PolicyMode::List), [A]);
        let judged = [A, A, B].map(|peer| senders.judge(peer, false));
        assert_eq!(judged, [Judged::Knocks, REFUSED, Judged::Knocks]);
        assert_eq!(senders.judge(A, true), REFUSED, "strangers do not knock");
        senders.not_heard(&B);
        assert_eq!(senders.judge(B, false), Judged::Knocks);
        rule(&mut senders, RuleVerb::Allow, A);
        assert_eq!(senders.judge(A, false), Judged::Admitted(None));
        assert_eq!(rule(&mut senders, RuleVerb::Disallow, A), [A]);
        assert_eq!(senders.judge(A, false), Judged::Knocks, "anew");
        set_mode(&mut senders, PolicyMode::List);
        assert_eq!(senders.judge(A, false), Judged::Knocks);
    }

    #[test]
    fn a_stranger_is_let_in_by_its_name_or_by_any_and_told_as_new() {
        let mut senders = Senders::default();
        assert!(!senders.admits_strangers());
        rule(&mut senders, RuleVerb::Allow, A);
        assert!(senders.admits_strangers());
        assert_eq!([A, B].map(|peer| senders.judge(peer, true)), [Judged::New, REFUSED]);
        assert_eq!(senders.judge(B, false), Judged::New);
        set_mode(&mut senders, PolicyMode::Any);
        assert_eq!(senders.judge(B, true), Judged::New, "it was of the group before");
        assert_eq!(senders.judge(B, true), Judged::Admitted(None));
        assert_eq!(rule(&mut senders, RuleVerb::Disallow, A), []);
        assert_eq!(set_mode(&mut senders, PolicyMode::Group).len(), 2);
        assert_eq!(senders.judge(A, true), Judged::Refused(Dropped::Offline));
        assert_eq!(senders.judge(B, false), Judged::Admitted(None));
    }

    #[test]
    fn beyond_the_senders_that_have_names_each_datagram_is_judged() {
        let mut senders = Senders::default();
        let peer = |number: usize| {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            PeerId::from_bytes(bytes)
        };
        let most = Limits::default().senders;
        assert!((0..most).all(|number| senders.judge(peer(number), false) == Judged::New));
        assert_eq!(senders.judge(A, false), Judged::Admitted(None));
        rule(&mut senders, RuleVerb::Block, A);
        assert_eq!(senders.judge(A, false), REFUSED);
        assert_eq!(senders.judge(B, false), Judged::Admitted(None));
        assert_eq!(set_mode(&mut senders, PolicyMode::List).len(), most);
        assert_eq!(senders.judge(B, false), Judged::Knocks);
    }

    #[test]
    fn whoever_was_judged_last_is_judged_by_what_holds_now() {
        let mut senders = Senders::default();
        assert_eq!(senders.judge(A, false), Judged::New);
        let twice = |senders: &mut Senders| [(); 2].map(|()| senders.judge(A, false));
        assert_eq!(twice(&mut senders), [Judged::Admitted(None); 2]);
        senders.named(&A, 20);
        assert_eq!(twice(&mut senders), [Judged::Admitted(Some(20)); 2]);
        assert_eq!(senders.judge(B, false), Judged::New);
        assert_eq!(senders.judge(A, true), Judged::Refused(Dropped::Offline), "of another group");
        assert_eq!(twice(&mut senders), [Judged::Admitted(Some(20)); 2]);
        rule(&mut senders, RuleVerb::Block, A);
        assert_eq!(twice(&mut senders), [REFUSED; 2]);
        rule(&mut senders, RuleVerb::Unblock, A);
        assert_eq!(twice(&mut senders), [Judged::Admitted(Some(20)); 2]);
        set_mode(&mut senders, PolicyMode::List);
        assert_eq!(twice(&mut senders), [Judged::Knocks, REFUSED]);
        set_mode(&mut senders, PolicyMode::Group);
        assert_eq!(twice(&mut senders), [Judged::Admitted(Some(20)); 2]);
        senders.forget(&A);
        assert_eq!(senders.judge(A, false), Judged::New);
    }

    #[test]
    fn the_mode_changes_sixteen_times_a_second_at_most() {
        let (mut senders, start) = (Senders::default(), Instant::now());
        let mut may = |now| senders.set_mode(PolicyMode::Any, now).is_ok();
        assert_eq!((0..100).filter(|_| may(start)).count(), 16);
        assert_eq!((0..100).filter(|_| may(start + Duration::from_millis(500))).count(), 8);
        assert_eq!((0..100).filter(|_| may(start + Duration::from_secs(9))).count(), 16);
    }
}
