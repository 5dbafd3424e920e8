//! The shutdown state: which sessions must move, until when, and how they ended.
//!
//! This part is without I/O, and without a lock of its own: [`Drain`] lives in the same critical section as the map of
//! sessions ([`crate::directory`]), so that every session has exactly one owner. In the snapshot that [`Drain::begin`] takes:
//! the drain owns it. Registered later: a straggler, which [`Drain::session_added`] claims. There is no third kind.

pub(crate) mod driver;
mod flag;
mod report;
mod smear;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use baton_protocol::frame::GoAwayReason;
use baton_protocol::id::SessionId;
use baton_protocol::session::Outcome;

pub use flag::{Flag, FlagError, Reason};
pub use report::Report;

/// A pool that closes gives its sessions no longer than this: they have nowhere to go.
const CLOSING_GRACE: Duration = Duration::from_secs(5);

/// When one session must begin to move, and when it must be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Why.
    pub reason: GoAwayReason,
    /// From now until the session is closed. Not zero.
    pub deadline: Duration,
    /// From now until it should begin to move.
    pub reconnect_after: Duration,
}

/// What a session that was just registered must be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// Nothing.
    Serves,
    /// GOAWAY, with the remaining time.
    Straggler(Slot),
    /// There is no time left: it is closed.
    TooLate,
}

/// What a flag means for the sessions that are here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begun {
    /// These must be told, with their slots. Whoever was about to be told something else is not.
    Tell(Vec<(SessionId, Slot)>),
    /// Nothing new: they have their slots, or are about to be told.
    AsBefore,
}

#[derive(Debug)]
struct Running {
    flag: Flag,
    started: Instant,
    deadline: Instant,
}

/// The shutdown state of a relay.
#[derive(Debug, Default)]
pub struct Drain {
    running: Option<Running>,
    /// Of the last drain, also after it was cancelled.
    report: Option<Report>,
    /// The sessions that the drain owns and that are still here.
    owned: BTreeSet<SessionId>,
    acknowledged: BTreeSet<SessionId>,
}

impl Drain {
    /// Whether new sessions are turned away.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// When what is left is closed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.deadline)
    }

    /// What became of the sessions; `None` before the first drain.
    #[must_use]
    pub fn report(&self, now: Instant) -> Option<Report> {
        let mut report = self.report.clone()?;
        report.acknowledged = report.acknowledged_and_gone + self.acknowledged.len() as u64;
        report.remaining = self.owned.len() as u64;
        report.left_over = self.deadline().map(|deadline| deadline.saturating_duration_since(now));
        Some(report)
    }

    /// Takes the flag. `sessions` are all that are registered.
    ///
    /// The same id again changes at most the deadline, counted from the original start. Sessions have their slots and keep
    /// them, unless the deadline comes closer: then they are told anew, or they would be closed before their time. Another id
    /// begins a new drain of the sessions that are here.
    pub fn begin(
        &mut self,
        flag: Flag,
        sessions: impl IntoIterator<Item = SessionId>,
        now: Instant,
    ) -> Begun {
        let grace = grace_of(&flag);
        if let Some(running) = self.running.as_mut().filter(|running| running.flag.id == flag.id) {
            let before = running.deadline;
            running.deadline = running.started + grace;
            running.flag = flag;
            let closer = running.deadline < before;
            return if closer { self.tell(now) } else { Begun::AsBefore };
        }
        self.owned = sessions.into_iter().collect();
        self.acknowledged.clear();
        self.report = Some(Report {
            id: flag.id.clone(),
            at_flag: self.owned.len() as u64,
            ..Report::default()
        });
        self.running = Some(Running { flag, started: now, deadline: now + grace });
        self.tell(now)
    }

    fn tell(&self, now: Instant) -> Begun {
        let count = self.owned.len();
        let owned = self.owned.iter().enumerate();
        let told = self.running.iter().flat_map(|running| {
            owned.clone().filter_map(|(position, session)| {
                Some((*session, running.slot(position, count, now)?))
            })
        });
        Begun::Tell(told.collect())
    }

    /// Withdraws the flag. Gives the sessions that stay after all.
    pub fn cancel(&mut self) -> Vec<SessionId> {
        self.running = None;
        if let Some(report) = &mut self.report {
            report.cancelled = true;
            report.acknowledged_and_gone += self.acknowledged.len() as u64;
        }
        self.acknowledged.clear();
        std::mem::take(&mut self.owned).into_iter().collect()
    }

    /// A session was registered.
    pub fn session_added(&mut self, session: SessionId, now: Instant) -> Added {
        let (Some(running), Some(report)) = (&self.running, &mut self.report) else {
            return Added::Serves;
        };
        report.stragglers += 1;
        self.owned.insert(session);
        running.slot(0, 1, now).map_or(Added::TooLate, Added::Straggler)
    }

    /// A session acknowledged its GOAWAY.
    pub fn acknowledged(&mut self, session: SessionId) {
        if self.owned.contains(&session) {
            self.acknowledged.insert(session);
        }
    }

    /// A session ended. One that no drain owns is not counted.
    pub fn session_ended(&mut self, session: SessionId, outcome: Outcome) {
        if !self.owned.remove(&session) {
            return;
        }
        if let Some(report) = &mut self.report {
            report.count(outcome);
            report.acknowledged_and_gone += u64::from(self.acknowledged.remove(&session));
        }
    }

    /// The sessions that must be closed because their time is over.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<SessionId> {
        match self.deadline() {
            Some(deadline) if deadline <= now => self.owned.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the drain owns no session any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }
}

impl Running {
    /// The slot of the session at `position` among `count`; `None` if there is no time left.
    fn slot(&self, position: usize, count: usize, now: Instant) -> Option<Slot> {
        let deadline = self.deadline.saturating_duration_since(now);
        if deadline.is_zero() {
            return None;
        }
        Some(Slot {
            reason: self.flag.reason.goaway(),
            deadline,
            reconnect_after: smear::slot(
                position,
                count,
                self.flag.max_sessions_per_second,
                deadline,
            ),
        })
    }
}

/// How long the sessions have, as a flag says or as it is capped.
fn grace_of(flag: &Flag) -> Duration {
    let grace = Duration::from_secs(flag.grace_seconds);
    match flag.reason.goaway() {
        GoAwayReason::Closing => grace.min(CLOSING_GRACE),
        GoAwayReason::Rollout | GoAwayReason::ScaleDown | GoAwayReason::Disruption => grace,
    }
}

#[cfg(test)]
mod tests;
