//! The shutdown flag, and how the relay stands.

use std::sync::Arc;
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::id::SessionId;
use baton_protocol::session::End;

use super::Directory;
use crate::drain::{Flag, Report, Slot};
use crate::session::handle::{Command, Handle};

/// How a relay stands at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) sessions: usize,
    pub(crate) draining: bool,
    pub(crate) drained: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) report: Option<Report>,
    pub(crate) siblings: usize,
    pub(crate) online: usize,
}
impl Directory {
    /// The session acknowledged its GOAWAY.
    pub(crate) fn acknowledged(&self, session: SessionId) {
        self.lock().drain.acknowledged(session);
    }

    /// Sets the shutdown flag and takes the snapshot of sessions, in one critical section. Gives whom to tell what.
    pub(crate) fn begin_shutdown(&self, flag: Flag) -> Vec<(Arc<Handle>, Slot, Instant)> {
        let now = Instant::now();
        let mut state = self.lock();
        let sessions: Vec<_> = state.sessions.keys().copied().collect();
        let told = state.drain.begin(flag, sessions, now);
        let told = told
            .into_iter()
            .filter_map(|(id, slot)| Some((state.sessions.get(&id)?.clone(), slot, now)))
            .collect();
        drop(state);
        self.changed.notify_waiters();
        told
    }

    /// Withdraws the shutdown flag, and tells the sessions that stay. The caller has stopped telling them to go.
    pub(crate) fn cancel_shutdown(&self) {
        let mut state = self.lock();
        for id in state.drain.cancel() {
            if let Some(handle) = state.sessions.get(&id) {
                handle.command(Command::Serve);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Closes the sessions whose time is over. Gives how many.
    pub(crate) fn close_overdue(&self) -> usize {
        let state = self.lock();
        let overdue = state.drain.overdue(Instant::now());
        for id in &overdue {
            if let Some(handle) = state.sessions.get(id) {
                handle.close(CloseCode::GoawayTimeout, End::Deadline);
            }
        }
        overdue.len()
    }

    /// Closes every session at once.
    pub(crate) fn close_all(&self, code: CloseCode) {
        self.lock().sessions.values().for_each(|handle| handle.close(code, End::Deadline));
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        let told = state.siblings.values().all(|sibling| sibling.has_heard_everything());
        Standing {
            sessions: state.sessions.len(),
            draining: state.drain.is_on(),
            drained: state.drain.is_on() && state.sessions.is_empty() && told,
            deadline: state.drain.deadline(),
            report: state.drain.report(Instant::now()),
            siblings: state.siblings.len(),
            online: state.presence.online(),
        }
    }
}
