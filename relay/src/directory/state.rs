//! What one change of one peer means for all others. All of it happens under the directory's lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Intent, PeerState};
use baton_protocol::id::{PeerId, RelayId, SessionId, Stamp};
use baton_protocol::presence::{Change, Home, Presence};
use baton_protocol::session::End;

use super::reach::reach;
use super::{Destination, Sibling, Target, unix_ms};
use crate::drain::Drain;
use crate::mesh::frame::MeshFrame;
use crate::session::handle::{Handle, Note};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) presence: Presence,
    pub(super) sessions: BTreeMap<SessionId, Arc<Handle>>,
    /// The sessions of each peer.
    pub(super) of_peer: HashMap<PeerId, Vec<Arc<Handle>>>,
    pub(super) homes: HashMap<PeerId, Arc<Handle>>,
    pub(super) destinations: HashMap<PeerId, Weak<Destination>>,
    /// Who watches a peer.
    pub(super) watchers: HashMap<PeerId, BTreeSet<SessionId>>,
    /// Who has a route to a peer.
    pub(super) routed: HashMap<PeerId, BTreeSet<SessionId>>,
    pub(super) siblings: BTreeMap<RelayId, Arc<Sibling>>,
    /// The attachments to siblings that may let in senders of other groups: one of each peer at most.
    pub(super) reach: HashMap<PeerId, (Stamp, RelayId)>,
    /// Where siblings that said goodbye listened.
    pub(super) departed: HashSet<SocketAddr>,
    /// The last sibling that was told of all others.
    pub(super) told_members: Option<RelayId>,
    pub(super) drain: Drain,
    pub(super) lingering: bool,
    /// Connections that are not sessions yet, and may become some.
    pub(super) joining: usize,
    pub(super) last_session: u64,
}

impl State {
    /// Whether this is the link to its sibling, and not one that was replaced.
    pub(super) fn is_current(&self, sibling: &Arc<Sibling>) -> bool {
        self.siblings.get(&sibling.relay).is_some_and(|current| Arc::ptr_eq(current, sibling))
    }

    /// The session ended.
    pub(super) fn take_out(&mut self, handle: &Arc<Handle>) {
        self.sessions.remove(&handle.id);
        if let Some(sessions) = self.of_peer.get_mut(&handle.peer) {
            sessions.retain(|other| !Arc::ptr_eq(other, handle));
            if sessions.is_empty() {
                self.of_peer.remove(&handle.peer);
            }
        }
    }

    /// The session is nobody's home, although its peer counts as online.
    pub(super) fn no_home(&mut self, me: RelayId, handle: &Arc<Handle>) {
        if self.homes.get(&handle.peer).is_some_and(|home| Arc::ptr_eq(home, handle)) {
            self.homes.remove(&handle.peer);
            self.repoint(me, handle.peer);
        }
    }

    /// The session is its peer's home from now. Gives the stamp under which it was announced.
    pub(super) fn announce(&mut self, me: RelayId, handle: &Arc<Handle>, intent: Intent) -> Stamp {
        let peer = handle.peer;
        let mut stamp = handle.stamp();
        if self.presence.last(&peer).is_some_and(|last| last.stamp >= stamp) {
            // Someone attached with this key since WELCOME, or is gone again. Who announces last is the one who lives.
            stamp = self.presence.next_stamp(&peer, Some(stamp), unix_ms());
            handle.restamp(stamp);
        }
        let (instance, group) = (handle.instance, handle.group.to_string());
        let home = Home { stamp, relay: me, instance, group, intent };
        handle.set_announced();
        self.homes.insert(peer, handle.clone());
        if let Some(change) = self.presence.announce(peer, home.clone()) {
            self.apply(me, &change);
        }
        if handle.reaches_further() {
            // Before it, so that nobody knows of the one without the other.
            self.tell_siblings(&reach(handle));
        }
        self.tell_siblings(&MeshFrame::Announce { peer, home });
        stamp
    }

    /// Carries a change of a peer out: its destination, those who watch it, those who have routes to it, and the sessions that
    /// lost it.
    pub(super) fn apply(&mut self, me: RelayId, change: &Change) {
        let peer = change.peer;
        if change.relay != Some(me) {
            self.homes.remove(&peer);
        }
        self.forget_reach(&peer);
        self.repoint(me, peer);
        self.tell(change);
        if change.replaced.is_some() {
            self.close_losers(change);
        }
        if change.relay.is_none() {
            self.fall_back(me, peer);
        }
    }

    fn tell(&self, change: &Change) {
        let peer = change.peer;
        for handle in self.those(&self.watchers, peer) {
            let events = change.events(&handle.group);
            events.iter().for_each(|event| handle.note(Note::Presence(peer, *event)));
        }
        let came =
            |handle: &&Arc<Handle>| change.events(&handle.group).last() == Some(&PeerState::Online);
        self.those(&self.routed, peer)
            .filter(came)
            .for_each(|handle| handle.note(Note::Refreshed(peer)));
    }

    fn those<'a>(
        &'a self,
        interested: &'a HashMap<PeerId, BTreeSet<SessionId>>,
        peer: PeerId,
    ) -> impl Iterator<Item = &'a Arc<Handle>> {
        let sessions = interested.get(&peer).into_iter().flatten();
        sessions.filter_map(|session| self.sessions.get(session))
    }

    /// A peer attached anew: its sessions here are over, but for the one that is its home now. A standby of the same process
    /// may still take over, and a session that has moved only forwards.
    fn close_losers(&self, change: &Change) {
        let Some(winner) = self.presence.last(&change.peer) else { return };
        let home = self.homes.get(&change.peer);
        for loser in self.of_peer.get(&change.peer).into_iter().flatten() {
            if home.is_some_and(|home| Arc::ptr_eq(home, loser)) {
                continue;
            }
            if loser.instance != winner.instance {
                loser.close(CloseCode::Superseded, End::Superseded);
            } else if loser.is_home() {
                loser.close(CloseCode::Moved, End::Reattached);
            }
        }
    }

    /// A peer is gone from where it was. If that was the end of a handover which failed, its client never left the session
    /// here: that is its home again.
    fn fall_back(&mut self, me: RelayId, peer: PeerId) {
        let Some(instance) = self.presence.last(&peer).map(|home| home.instance) else { return };
        let here = self.of_peer.get(&peer).into_iter().flatten();
        let stayed = here
            .filter(|handle| handle.instance == instance && handle.is_home())
            .max_by_key(|handle| handle.stamp())
            .cloned();
        if let Some(handle) = stayed {
            self.announce(me, &handle, Intent::Handover);
        }
    }

    pub(super) fn destination(&mut self, me: RelayId, peer: PeerId) -> Arc<Destination> {
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

    pub(super) fn target(&self, me: RelayId, peer: &PeerId) -> Target {
        let Some(home) = self.presence.home(peer) else { return Target::Nowhere };
        if home.relay == me {
            return self.homes.get(peer).cloned().map_or(Target::Nowhere, Target::Here);
        }
        match self.siblings.get(&home.relay) {
            Some(sibling) => Target::There {
                sibling: sibling.clone(),
                stamp: home.stamp,
                group: home.group.as_str().into(),
                takes_strangers: self.takes_strangers(peer, home),
            },
            None => Target::Nowhere,
        }
    }

    pub(super) fn repoint(&self, me: RelayId, peer: PeerId) {
        if let Some(destination) = self.destinations.get(&peer).and_then(Weak::upgrade) {
            destination.point(self.target(me, &peer));
        }
    }

    /// Re-points the destinations of all peers at `relay`, whose link came or went.
    pub(super) fn repoint_all(&self, me: RelayId, relay: RelayId) {
        for (peer, destination) in &self.destinations {
            let there = self.presence.home(peer).is_some_and(|home| home.relay == relay);
            if let Some(destination) = destination.upgrade().filter(|_| there) {
                destination.point(self.target(me, peer));
            }
        }
    }

    pub(super) fn tell_siblings(&self, frame: &MeshFrame) {
        self.siblings.values().for_each(|sibling| sibling.tell(frame.clone()));
    }
}

pub(super) fn leave(
    sessions: &mut HashMap<PeerId, BTreeSet<SessionId>>,
    peer: &PeerId,
    session: SessionId,
) {
    if let Some(of_peer) = sessions.get_mut(peer) {
        of_peer.remove(&session);
        if of_peer.is_empty() {
            sessions.remove(peer);
        }
    }
}
