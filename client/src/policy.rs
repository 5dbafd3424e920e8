//! Whom this client lets in: what its owner has set, what each relay was told of it, and whether that relay keeps it.
//!
//! The policy belongs to the session, so each new one is told all of it before anything can come there. What is not let in is
//! dropped here, too ([`Admission`](crate::admission::Admission)): that is at once, and holds where a relay knows no policies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::attachment::Slot;
use baton_protocol::frame::{CAPABILITY_POLICIES, Frame, PolicyMode, Rule, Ruled};
use baton_protocol::policy::{Policy, TooManyNames};
use tokio::sync::oneshot;

use crate::inbound::Inbound;

/// A relay that has not answered for so long knows no policies.
const PATIENCE: Duration = Duration::from_secs(3);

/// A change of the policy that is not kept everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A list would be too long. Nothing has changed.
    #[error(transparent)]
    TooManyNames(#[from] TooManyNames),
    /// The relay in use keeps no policies, or shorter ones. What is not let in comes as far as this client, and is dropped here;
    /// peers of other groups do not come at all. The next relay is told the same.
    #[error(
        "the relay does not keep this policy: it lets the group in, and what is not wanted is dropped here"
    )]
    NotKept,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Where the owner waits for an answer.
pub(crate) type Reply = oneshot::Sender<Result<(), PolicyError>>;

/// What the owner wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Of those whom no rule names, let these in.
    Mode(PolicyMode),
    /// Let these in by name, or not.
    Rule(Rule),
}

/// What one session was told.
#[derive(Debug)]
struct Told {
    /// Whether its relay keeps policies; none while that is not known.
    keeps: Option<bool>,
    /// For each change that it has not answered, whoever waits for that.
    unanswered: VecDeque<Option<Reply>>,
    /// When it was told the last of them.
    at: Instant,
    /// The owner knows that it does not keep the policy.
    is_known: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Policies {
    policy: Policy,
    inbound: Arc<Inbound>,
    sessions: BTreeMap<Slot, Told>,
    /// Those that wait for a policy before anything else, whatever it has become meanwhile.
    promised: BTreeSet<Slot>,
}

impl Policies {
    pub(crate) fn new(policy: Policy, inbound: Arc<Inbound>) -> Self {
        inbound.set_policy(&policy);
        Self { policy, inbound, sessions: BTreeMap::new(), promised: BTreeSet::new() }
    }

    /// Whether nothing may come for this session, which is being dialed, before it was told.
    pub(crate) fn comes_first(&mut self, slot: Slot) -> bool {
        let comes_first = self.policy.narrows();
        if comes_first {
            self.promised.insert(slot);
        }
        comes_first
    }

    /// A session has its WELCOME. Gives what it is told first.
    pub(crate) fn welcomed(&mut self, slot: Slot, now: Instant) -> Vec<Frame> {
        let awaited = self.promised.remove(&slot) || !self.policy.is_default();
        let frames = if awaited { self.policy.frames() } else { Vec::new() };
        let unanswered = frames.iter().map(|_| None).collect();
        self.sessions.insert(slot, Told { keeps: None, unanswered, at: now, is_known: false });
        frames
    }

    /// The owner changes something. Gives the frame that every session is told by [`telling`](Self::telling).
    pub(crate) fn change(&mut self, change: Change) -> Result<Frame, TooManyNames> {
        let frame = match change {
            Change::Mode(mode) => {
                self.policy.set_mode(mode);
                Frame::Policy { mode }
            }
            Change::Rule(rule) => {
                self.policy.rule(rule.verb, &rule.peers)?;
                Frame::Rule(rule)
            }
        };
        self.inbound.set_policy(&self.policy);
        Ok(frame)
    }

    /// The sessions that are to be told of a change.
    pub(crate) fn sessions(&self) -> Vec<Slot> {
        self.sessions.keys().copied().collect()
    }

    /// This session is being told of a change; `reply` waits for its answer.
    pub(crate) fn telling(&mut self, slot: Slot, reply: Option<Reply>, now: Instant) {
        match self.sessions.get_mut(&slot) {
            Some(told) if told.keeps == Some(false) => answer(reply, Err(PolicyError::NotKept)),
            Some(told) => {
                told.unanswered.push_back(reply);
                told.at = now;
            }
            None => answer(reply, Ok(())),
        }
    }

    /// The relay of a session said what it knows.
    pub(crate) fn knows(&mut self, slot: Slot, known: u64) {
        let Some(told) = self.sessions.get_mut(&slot) else { return };
        told.keeps = Some(known & CAPABILITY_POLICIES != 0);
        told.give_up_if_not_kept();
    }

    /// RULED came.
    pub(crate) fn ruled(&mut self, slot: Slot, ruled: Ruled) {
        let Some(told) = self.sessions.get_mut(&slot) else { return };
        let Some(reply) = told.unanswered.pop_front() else { return };
        match ruled {
            Ruled::Kept => answer(reply, Ok(())),
            // Its lists are shorter than ours: what it has is another policy.
            Ruled::TooMany { .. } => {
                answer(reply, Err(PolicyError::NotKept));
                told.keeps = Some(false);
                told.give_up_if_not_kept();
            }
        }
    }

    /// Looks at the session in use. Whether the owner is to be told, now, that its relay does not keep the policy.
    pub(crate) fn is_news(&mut self, current: Slot, now: Instant) -> bool {
        let is_default = self.policy.is_default();
        let Some(told) = self.sessions.get_mut(&current) else { return false };
        let is_late = !told.unanswered.is_empty() && now >= told.at + PATIENCE;
        if told.keeps.is_none() && is_late {
            told.keeps = Some(false);
            told.give_up_if_not_kept();
        }
        let news = told.keeps == Some(false) && !is_default && !told.is_known;
        told.is_known |= news;
        news
    }

    /// The session is no more. The next one is told what this one was.
    pub(crate) fn closed(&mut self, slot: Slot) {
        self.promised.remove(&slot);
        for reply in self.sessions.remove(&slot).into_iter().flat_map(|told| told.unanswered) {
            answer(reply, Ok(()));
        }
    }
}

impl Told {
    /// Nobody waits for a relay that keeps no policies.
    fn give_up_if_not_kept(&mut self) {
        if self.keeps == Some(false) {
            self.unanswered.drain(..).for_each(|reply| answer(reply, Err(PolicyError::NotKept)));
        }
    }
}

fn answer(reply: Option<Reply>, answer: Result<(), PolicyError>) {
    if let Some(reply) = reply {
        // Whoever asked may wait no more.
        let _ = reply.send(answer);
    }
}

#[cfg(test)]
mod tests;
