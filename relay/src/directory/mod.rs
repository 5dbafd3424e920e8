//! Who is where: the sessions of this relay, the peers of the pool, the links to siblings, and the shutdown state.
//!
//! All of it is behind one lock, because its parts change together: a session is registered, judged by the shutdown state,
//! and announced to watchers and siblings, and nobody may come between. The lock is never held across an await, and datagrams
//! do not take it: a route holds a [`Destination`], which is re-pointed when its peer moves.
//!
//! Invariants:
//! - Every session is in `sessions` from its WELCOME to its end, and if a drain is on, the drain owns it.
//! - `homes` holds the session under whose stamp this relay announced a peer, exactly while that announcement is current.
//! - A destination's target is what `presence` says, whenever the lock is free.
//! - What siblings are told, they are told in the order in which it happened here.

mod destination;
mod sibling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Intent, PeerState};
use baton_protocol::id::{PeerId, PeerPrefix, RelayId, SessionId, Stamp};
use baton_protocol::presence::{Change, Home, Presence, Withdrawal};
use baton_protocol::session::{End, Outcome};
use tokio::sync::Notify;

pub(crate) use destination::{Destination, Target};
pub(crate) use sibling::{MAX_NEWS, Sibling};

use crate::drain::{Added, Drain, Flag, Report, Slot};
use crate::mesh::frame::MeshFrame;
use crate::metrics::Metrics;
use crate::session::handle::{Command, Handle, Note};

/// How far beyond the clock a stamp that a client names may be, in milliseconds. It only ever concerns the client itself.
const STAMP_SLACK_MS: u64 = 60_000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Directory {
    me: RelayId,
    metrics: Arc<Metrics>,
    max_sessions: usize,
    state: Mutex<State>,
    /// Told at every change that someone may wait for: sessions, drain, siblings, timers.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    presence: Presence,
    sessions: BTreeMap<SessionId, Arc<Handle>>,
    homes: HashMap<PeerId, Arc<Handle>>,
    destinations: HashMap<PeerId, Weak<Destination>>,
    /// Who watches a peer.
    watchers: HashMap<PeerId, BTreeSet<SessionId>>,
    /// Who has a route to a peer.
    routed: HashMap<PeerId, BTreeSet<SessionId>>,
    siblings: BTreeMap<RelayId, Arc<Sibling>>,
    drain: Drain,
    last_session: u64,
}

/// A relay that has as many sessions as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A link to a sibling to which a better one exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate;

impl Directory {
    pub(crate) fn new(me: RelayId, max_sessions: usize, metrics: Arc<Metrics>) -> Self {
        Self { me, metrics, max_sessions, state: Mutex::default(), changed: Notify::new() }
    }

    /// The relay that this is the directory of.
    pub(crate) fn me(&self) -> RelayId {
        self.me
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

    /// Registers a session. What the drain has to say to it, if there is one, is said by a command.
    pub(crate) fn add(&self, handle: &Arc<Handle>) -> Result<(), Full> {
        let mut state = self.lock();
        if state.sessions.len() >= self.max_sessions {
            return Err(Full);
        }
        state.sessions.insert(handle.id, handle.clone());
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

    /// The session's peer lives here from now. Gives the stamp under which it was announced.
    pub(crate) fn announce(&self, handle: &Arc<Handle>) -> Stamp {
        let mut state = self.lock();
        let mut stamp = handle.stamp();
        if state.presence.home(&handle.peer).is_some_and(|home| home.stamp >= stamp) {
            // Someone attached with this key since WELCOME. Who announces last is the one who lives.
            stamp = state.presence.next_stamp(&handle.peer, Some(stamp), unix_ms());
            handle.restamp(stamp);
        }
        let home = Home {
            stamp,
            relay: self.me,
            instance: handle.instance,
            group: handle.group.to_string(),
        };
        let before = state.homes.insert(handle.peer, handle.clone());
        let change = state.presence.announce(handle.peer, home.clone(), handle.intent);
        if let Some(change) = change {
            state.apply(self.me, &change, before);
        }
        state.tell_siblings(&MeshFrame::Announce {
            peer: handle.peer,
            home,
            intent: handle.intent,
        });
        drop(state);
        self.changed.notify_waiters();
        stamp
    }

    /// The session's client says that it lives elsewhere, under `stamp`.
    pub(crate) fn moved(&self, handle: &Arc<Handle>, stamp: Stamp, relay: RelayId) {
        let mut state = self.lock();
        let believable = relay != self.me
            && state.siblings.contains_key(&relay)
            && stamp > handle.stamp()
            && stamp.as_u64() <= unix_ms().max(handle.stamp().as_u64()) + STAMP_SLACK_MS;
        if believable {
            let home =
                Home { stamp, relay, instance: handle.instance, group: handle.group.to_string() };
            if let Some(change) = state.presence.announce(handle.peer, home, Intent::Handover) {
                state.apply(self.me, &change, None);
            }
        }
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
        state.sessions.remove(&handle.id);
        watched.iter().for_each(|peer| leave(&mut state.watchers, peer, handle.id));
        routed.iter().for_each(|peer| leave(&mut state.routed, peer, handle.id));
        if state.drain.is_on() {
            self.metrics.outcome(outcome);
        }
        state.drain.session_ended(handle.id, outcome);
        let (peer, stamp) = (handle.peer, handle.stamp());
        let why = if outcome == Outcome::Moved { Withdrawal::Moved } else { Withdrawal::Gone };
        if let Some(change) = state.presence.withdraw(peer, stamp, self.me, why, now) {
            state.apply(self.me, &change, None);
        }
        if handle.was_announced() {
            state.tell_siblings(&MeshFrame::Withdraw { peer, stamp, why });
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Where the session's datagrams for `peer` go, now and after it moves.
    pub(crate) fn open(&self, handle: &Arc<Handle>, peer: PeerId) -> Arc<Destination> {
        let mut state = self.lock();
        state.routed.entry(peer).or_default().insert(handle.id);
        state.destination(self.me, peer)
    }

    /// The session's last route to `peer` is shut.
    pub(crate) fn shut(&self, handle: &Arc<Handle>, peer: &PeerId) {
        leave(&mut self.lock().routed, peer, handle.id);
    }

    /// Where datagrams for the peer with this prefix go; `None` if it is offline.
    pub(crate) fn find(&self, prefix: PeerPrefix) -> Option<Arc<Destination>> {
        let mut state = self.lock();
        let peer = state.presence.find(prefix)?;
        Some(state.destination(self.me, peer))
    }

    /// Subscribes a session to a peer and reports how it is now, in one step. A peer of another group is never online.
    pub(crate) fn watch(&self, handle: &Arc<Handle>, peer: PeerId) {
        let mut state = self.lock();
        state.watchers.entry(peer).or_default().insert(handle.id);
        let online = state.presence.home(&peer).is_some_and(|home| *home.group == *handle.group);
        handle.note(Note::Presence(
            peer,
            if online { PeerState::Online } else { PeerState::Offline },
        ));
    }

    /// Undoes [`watch`](Self::watch).
    pub(crate) fn unwatch(&self, handle: &Arc<Handle>, peer: &PeerId) {
        leave(&mut self.lock().watchers, peer, handle.id);
    }

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

    /// A link to a sibling is up. What it must be told first is given; what happens from now on it is told by itself.
    pub(crate) fn link_up(&self, sibling: &Arc<Sibling>) -> Result<Vec<MeshFrame>, Duplicate> {
        let mut state = self.lock();
        if let Some(existing) = state.siblings.get(&sibling.relay) {
            if !sibling.replaces(existing, self.me) {
                return Err(Duplicate);
            }
            existing.close("a newer link exists");
        }
        state.siblings.insert(sibling.relay, sibling.clone());
        // Until the sibling has named its peers anew, those that it named before are held.
        state.presence.link_lost(sibling.relay, Instant::now());
        state.repoint_all(self.me, sibling.relay);
        let flood: Vec<_> = state
            .presence
            .at(self.me)
            .map(|(peer, home)| MeshFrame::Announce {
                peer: *peer,
                home: home.clone(),
                intent: Intent::Fresh,
            })
            .collect();
        sibling.count_sent(flood.len());
        self.metrics.mesh_links.set(i64::try_from(state.siblings.len()).unwrap_or(i64::MAX));
        drop(state);
        self.changed.notify_waiters();
        Ok(flood)
    }

    /// A link is down. Nothing happens if it had been replaced. A sibling that said goodbye has no peers any more.
    pub(crate) fn link_down(&self, sibling: &Arc<Sibling>, goodbye: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        if !state.siblings.get(&sibling.relay).is_some_and(|current| Arc::ptr_eq(current, sibling))
        {
            return;
        }
        state.siblings.remove(&sibling.relay);
        state.presence.link_lost(sibling.relay, now);
        state.repoint_all(self.me, sibling.relay);
        if goodbye {
            let changes = state.presence.link_synced(sibling.relay, now);
            changes.iter().for_each(|change| state.apply(self.me, change, None));
        }
        self.metrics.mesh_links.set(i64::try_from(state.siblings.len()).unwrap_or(i64::MAX));
        drop(state);
        self.changed.notify_waiters();
    }

    /// A sibling told us something about a peer, or that it has named all of its peers.
    pub(crate) fn heard(&self, from: RelayId, frame: MeshFrame) {
        let now = Instant::now();
        let mut state = self.lock();
        match frame {
            MeshFrame::Announce { peer, home, intent } if home.relay == from => {
                if let Some(change) = state.presence.announce(peer, home, intent) {
                    let before = state.homes.remove(&peer);
                    state.apply(self.me, &change, before);
                }
            }
            MeshFrame::Withdraw { peer, stamp, why } => {
                if let Some(change) = state.presence.withdraw(peer, stamp, from, why, now) {
                    state.apply(self.me, &change, None);
                }
            }
            MeshFrame::Synced => {
                let changes = state.presence.link_synced(from, now);
                changes.iter().for_each(|change| state.apply(self.me, change, None));
            }
            _ => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether there is a link to the sibling that listens there.
    pub(crate) fn is_linked(&self, address: std::net::SocketAddr) -> bool {
        self.lock().siblings.values().any(|sibling| sibling.address == address)
    }

    /// Where the siblings listen.
    pub(crate) fn sibling_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.lock().siblings.values().map(|sibling| sibling.address).collect()
    }

    /// Tells every sibling but one.
    pub(crate) fn gossip(&self, frame: &MeshFrame, except: RelayId) {
        let state = self.lock();
        let others = state.siblings.values().filter(|sibling| sibling.relay != except);
        others.for_each(|sibling| sibling.tell(frame.clone()));
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.lock().presence.poll_timeout()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&self) {
        let mut state = self.lock();
        let changes = state.presence.handle_timeout(Instant::now());
        changes.iter().for_each(|change| state.apply(self.me, change, None));
    }

    /// Nothing in here panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

impl State {
    /// Carries a change of a peer out: its destination, those who watch it, and the session that lost it, if `before` was one.
    fn apply(&mut self, me: RelayId, change: &Change, before: Option<Arc<Handle>>) {
        let peer = change.peer;
        if change.relay != Some(me) {
            self.homes.remove(&peer);
        }
        self.repoint(me, peer);
        let group = self.presence.home(&peer).map(|home| home.group.clone());
        for session in self.watchers.get(&peer).into_iter().flatten() {
            let Some(handle) = self.sessions.get(session) else { continue };
            let visible = group.as_deref().is_none_or(|group| group == &*handle.group);
            change
                .events
                .iter()
                .filter(|_| visible)
                .for_each(|event| handle.note(Note::Presence(peer, *event)));
        }
        if let (Some(replaced), Some(loser)) = (&change.replaced, before)
            && replaced.relay == me
            && replaced.stamp == loser.stamp()
        {
            let (code, end) = if replaced.by_another_instance {
                (CloseCode::Superseded, End::Superseded)
            } else {
                (CloseCode::Moved, End::Reattached)
            };
            loser.close(code, end);
        }
        if change.events.contains(&PeerState::Online) && change.events.len() > 1 {
            self.refreshed(peer);
        }
    }

    /// Tells everyone here who has a route to `peer` that it attached anew.
    fn refreshed(&self, peer: PeerId) {
        let routed = self.routed.get(&peer).into_iter().flatten();
        let handles = routed.filter_map(|session| self.sessions.get(session));
        handles.for_each(|handle| handle.note(Note::Refreshed(peer)));
    }

    fn destination(&mut self, me: RelayId, peer: PeerId) -> Arc<Destination> {
        if let Some(destination) = self.destinations.get(&peer).and_then(Weak::upgrade) {
            return destination;
        }
        // Entries whose routes are all shut go when the map would grow beyond what is in use.
        if self.destinations.len() == self.destinations.capacity() {
            self.destinations.retain(|_, destination| destination.strong_count() > 0);
        }
        let destination = Arc::new(Destination::new(peer, self.target(me, &peer)));
        self.destinations.insert(peer, Arc::downgrade(&destination));
        destination
    }

    fn target(&self, me: RelayId, peer: &PeerId) -> Target {
        let Some(home) = self.presence.home(peer) else { return Target::Nowhere };
        if home.relay == me {
            return self.homes.get(peer).cloned().map_or(Target::Nowhere, Target::Here);
        }
        match self.siblings.get(&home.relay) {
            Some(sibling) => Target::There {
                sibling: sibling.clone(),
                stamp: home.stamp,
                group: home.group.as_str().into(),
            },
            None => Target::Nowhere,
        }
    }

    fn repoint(&self, me: RelayId, peer: PeerId) {
        if let Some(destination) = self.destinations.get(&peer).and_then(Weak::upgrade) {
            destination.point(self.target(me, &peer));
        }
    }

    /// Re-points the destinations of all peers at `relay`, whose link came or went.
    fn repoint_all(&self, me: RelayId, relay: RelayId) {
        for (peer, destination) in &self.destinations {
            let there = self.presence.home(peer).is_some_and(|home| home.relay == relay);
            if let Some(destination) = destination.upgrade().filter(|_| there) {
                destination.point(self.target(me, peer));
            }
        }
    }

    fn tell_siblings(&self, frame: &MeshFrame) {
        self.siblings.values().for_each(|sibling| sibling.tell(frame.clone()));
    }
}

fn leave(sessions: &mut HashMap<PeerId, BTreeSet<SessionId>>, peer: &PeerId, session: SessionId) {
    if let Some(of_peer) = sessions.get_mut(peer) {
        of_peer.remove(&session);
        if of_peer.is_empty() {
            sessions.remove(peer);
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
