//! Sessions come, serve, move and go.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::frame::Intent;
use baton_protocol::id::{PeerId, RelayId, SessionId, Stamp};
use baton_protocol::presence::{Home, Withdrawal};
use baton_protocol::session::{End, Outcome};

use super::{Directory, Full, leave, unix_ms};
use crate::drain::Added;
use crate::mesh::frame::MeshFrame;
use crate::session::handle::{Command, Handle};

/// How far beyond the clock a stamp that a client names may be, in milliseconds. It only ever concerns the client itself.
const STAMP_SLACK_MS: u64 = 60_000;
/// A connection that may become a session. A relay is not drained while there are some.
#[derive(Debug)]
pub(crate) struct Joining(Arc<Directory>);

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.lock().joining -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Directory {
    /// A first packet came. `None` if no new session is taken in: a drain is on, or too many are joining.
    pub(crate) fn begin_joining(self: &Arc<Self>, at_most: usize) -> Option<Joining> {
        let mut state = self.lock();
        if state.drain.is_on() || state.joining >= at_most {
            return None;
        }
        state.joining += 1;
        Some(Joining(self.clone()))
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// The sessions after this one in the order of their ids, so many at most.
    pub(crate) fn sessions_after(&self, last: Option<SessionId>, most: usize) -> Vec<Arc<Handle>> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.lock();
        let sessions = state.sessions.range((after, Bound::Unbounded));
        sessions.take(most).map(|(_, handle)| handle.clone()).collect()
    }

    /// The id for a new session.
    pub(crate) fn next_session(&self) -> SessionId {
        let mut state = self.lock();
        state.last_session += 1;
        SessionId::from_u64(state.last_session)
    }

    /// The stamp for a new attachment of `peer`.
    pub(crate) fn next_stamp(&self, peer: &PeerId, ticket: Option<Stamp>) -> Stamp {
        self.lock().presence.next_stamp(peer, ticket, unix_ms())
    }

    /// The session with this id.
    pub(crate) fn session(&self, id: SessionId) -> Option<Arc<Handle>> {
        self.lock().sessions.get(&id).cloned()
    }

    /// Registers a session. What the drain has to say to it, if there is one, is said by a command.
    pub(crate) fn add(&self, handle: &Arc<Handle>) -> Result<(), Full> {
        let mut state = self.lock();
        if state.sessions.len() >= self.max_sessions() {
            return Err(Full);
        }
        if handle.is_standby() {
            // A client that tries again has given its earlier attempt up. One key fills no relay with standbys.
            let earlier = state.of_peer.get(&handle.peer).into_iter().flatten();
            earlier
                .filter(|other| other.is_standby())
                .for_each(|other| other.close(CloseCode::Moved, End::Reattached));
        }
        state.sessions.insert(handle.id, handle.clone());
        state.of_peer.entry(handle.peer).or_default().push(handle.clone());
        let now = Instant::now();
        match state.drain.session_added(handle.id, now) {
            Added::Serves => {}
            Added::Straggler(slot) => handle.command(Command::go(slot, now)),
            Added::TooLate => handle.close(CloseCode::GoawayTimeout, End::Deadline),
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The session's peer lives here from now. Gives the stamp under which it was announced; `None` if the session is a
    /// standby of a process that has been superseded since, or was closed meanwhile.
    pub(crate) fn announce(&self, handle: &Arc<Handle>) -> Option<Stamp> {
        let mut state = self.lock();
        if handle.closed_as().is_some() {
            return None;
        }
        let winner = state.presence.home(&handle.peer).map(|home| home.instance);
        // One that sets its policy first comes when it has, as if it had come then.
        if handle.takes_over() && winner.is_some_and(|winner| winner != handle.instance) {
            return None;
        }
        let stamp = state.announce(self.me, handle, handle.intent);
        drop(state);
        self.changed.notify_waiters();
        Some(stamp)
    }

    /// The session's client says that it lives elsewhere, under `stamp`.
    pub(crate) fn moved(&self, handle: &Arc<Handle>, stamp: Stamp, relay: RelayId) {
        let mut state = self.lock();
        handle.set_moved();
        let believable = relay != self.me
            && state.siblings.contains_key(&relay)
            && stamp > handle.stamp()
            && stamp.as_u64() <= unix_ms().max(handle.stamp().as_u64()) + STAMP_SLACK_MS;
        if believable {
            let (instance, group) = (handle.instance, handle.group.to_string());
            let home = Home { stamp, relay, instance, group, intent: Intent::Handover };
            if let Some(change) = state.presence.rumour(handle.peer, home, Instant::now()) {
                if handle.reaches_further() {
                    // Its client takes its policy along; and if it does not, its new relay judges.
                    state.heard_reach(self.me, handle.peer, (stamp, relay));
                }
                state.apply(self.me, &change);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The session's client takes its handover back, because the session that it went to failed: one that WELCOME gave the stamp
    /// `failed`, if that is known. Gives the stamp under which the peer is announced again, above all that went before; `None` if
    /// another process has taken its place, or the session was closed meanwhile.
    pub(crate) fn reclaim(&self, handle: &Arc<Handle>, failed: Option<Stamp>) -> Option<Stamp> {
        let mut state = self.lock();
        if handle.closed_as().is_some() {
            return None;
        }
        let winner = state.presence.home(&handle.peer).map(|home| home.instance);
        if winner.is_some_and(|winner| winner != handle.instance) {
            return None;
        }
        handle.set_stayed();
        let shown = failed.max(Some(handle.stamp()));
        handle.restamp(state.presence.next_stamp(&handle.peer, shown, unix_ms()));
        let stamp = state.announce(self.me, handle, Intent::Handover);
        drop(state);
        self.changed.notify_waiters();
        Some(stamp)
    }

    /// The session is over, and ended like that. It watched `watched` and had routes to `routed`.
    pub(crate) fn remove(
        &self,
        handle: &Arc<Handle>,
        outcome: Outcome,
        watched: &[PeerId],
        routed: &[PeerId],
    ) {
        let now = Instant::now();
        let mut state = self.lock();
        state.take_out(handle);
        watched.iter().for_each(|peer| leave(&mut state.watchers, peer, handle.id));
        routed.iter().for_each(|peer| leave(&mut state.routed, peer, handle.id));
        if state.drain.is_on() {
            self.metrics.outcome(outcome);
        }
        state.drain.session_ended(handle.id, outcome);
        let (peer, stamp) = (handle.peer, handle.stamp());
        let why = if outcome == Outcome::Moved { Withdrawal::Moved } else { Withdrawal::Gone };
        if handle.was_announced() {
            state.tell_siblings(&MeshFrame::Withdraw { peer, stamp, why });
        }
        match state.presence.withdraw(peer, stamp, self.me, why, now) {
            Some(change) => state.apply(self.me, &change),
            // Nobody is told yet, but what comes for it meanwhile finds nobody here.
            None => state.no_home(self.me, handle),
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The session is over, and nobody knows what it watched and had routes to.
    pub(crate) fn forget(&self, handle: &Arc<Handle>) {
        let of = |sessions: &HashMap<PeerId, BTreeSet<SessionId>>| {
            let its = sessions.iter().filter(|(_, sessions)| sessions.contains(&handle.id));
            its.map(|(peer, _)| *peer).collect::<Vec<_>>()
        };
        let state = self.lock();
        let (watched, routed) = (of(&state.watchers), of(&state.routed));
        drop(state);
        self.remove(handle, Outcome::Silent, &watched, &routed);
    }
}
