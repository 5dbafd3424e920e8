//! The shutdown flag, and how the relay stands.

use std::sync::Arc;
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::id::SessionId;
use baton_protocol::session::End;

use super::Directory;
use crate::drain::{Begun, Flag, Report};
use crate::session::handle::{Command, Handle};

/// How a relay stands at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) sessions: usize,
    pub(crate) draining: bool,
    pub(crate) drained: bool,
    pub(crate) lingering: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) report: Option<Report>,
    pub(crate) siblings: usize,
    pub(crate) online: usize,
}
/// A session, and what it must be told.
pub(crate) type Told = (Arc<Handle>, Command);

impl Directory {
    /// The session acknowledged its GOAWAY.
    pub(crate) fn acknowledged(&self, session: SessionId) {
        self.lock().drain.acknowledged(session);
    }

    /// Sets the shutdown flag and takes the snapshot of sessions, in one critical section. Gives whom to tell what; `None` if
    /// that is as before.
    pub(crate) fn begin_shutdown(&self, flag: Flag) -> Option<Vec<Told>> {
        let now = Instant::now();
        let mut state = self.lock();
        let sessions: Vec<_> = state.sessions.keys().copied().collect();
        let begun = state.drain.begin(flag, sessions, now);
        let told = match begun {
            Begun::AsBefore => None,
            Begun::Tell(told) => {
                let find =
                    |(id, slot)| Some((state.sessions.get(&id)?.clone(), Command::go(slot, now)));
                Some(told.into_iter().filter_map(find).collect())
            }
        };
        drop(state);
        self.changed.notify_waiters();
        told
    }

    /// Withdraws the shutdown flag. Gives the sessions that stay, of whom those must be told that were told to go; the caller tells
    /// nobody to go any more.
    pub(crate) fn cancel_shutdown(&self) -> Vec<Told> {
        let mut state = self.lock();
        let stay = state.drain.cancel();
        let find = |id| Some((state.sessions.get(&id)?.clone(), Command::Serve));
        let told = stay.into_iter().filter_map(find).collect();
        drop(state);
        self.changed.notify_waiters();
        told
    }

    /// Closes the sessions whose time is over. Gives how many are still to end.
    pub(crate) fn close_overdue(&self) -> usize {
        let state = self.lock();
        let overdue = state.drain.overdue(Instant::now());
        let here = overdue.iter().filter_map(|id| state.sessions.get(id));
        here.filter(|handle| handle.closed_as().is_none())
            .for_each(|handle| handle.close(CloseCode::GoawayTimeout, End::Deadline));
        overdue.len()
    }

    /// Closes every session at once.
    pub(crate) fn close_all(&self, code: CloseCode) {
        self.lock().sessions.values().for_each(|handle| handle.close(code, End::Deadline));
    }

    /// The relay is about to exit, and only answers what still comes.
    pub(crate) fn set_lingering(&self) {
        self.lock().lingering = true;
        self.changed.notify_waiters();
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        let now = Instant::now();
        let told = state.siblings.values().all(|sibling| sibling.has_heard_everything());
        // Whoever joins after the deadline is closed at once: it need not be waited for.
        let late = state.drain.deadline().is_some_and(|deadline| deadline <= now);
        let empty = state.sessions.is_empty() && (state.joining == 0 || late);
        Standing {
            sessions: state.sessions.len(),
            draining: state.drain.is_on(),
            drained: state.drain.is_on() && empty && told,
            lingering: state.lingering,
            deadline: state.drain.deadline(),
            report: state.drain.report(now),
            siblings: state.siblings.len(),
            online: state.presence.online(),
        }
    }
}
