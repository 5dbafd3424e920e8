//! What one change of one peer means for all others. All of it happens under the directory's lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use baton_protocol::close::CloseCode;
use baton_protocol::frame::PeerState;
use baton_protocol::id::{PeerId, RelayId, SessionId};
use baton_protocol::presence::{Change, Presence};
use baton_protocol::session::End;

use super::{Destination, Sibling, Target};
use crate::drain::Drain;
use crate::mesh::frame::MeshFrame;
use crate::session::handle::{Handle, Note};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) presence: Presence,
    pub(super) sessions: BTreeMap<SessionId, Arc<Handle>>,
    pub(super) homes: HashMap<PeerId, Arc<Handle>>,
    pub(super) destinations: HashMap<PeerId, Weak<Destination>>,
    /// Who watches a peer.
    pub(super) watchers: HashMap<PeerId, BTreeSet<SessionId>>,
    /// Who has a route to a peer.
    pub(super) routed: HashMap<PeerId, BTreeSet<SessionId>>,
    pub(super) siblings: BTreeMap<RelayId, Arc<Sibling>>,
    pub(super) drain: Drain,
    pub(super) last_session: u64,
}

impl State {
    /// Carries a change of a peer out: its destination, those who watch it, and the session that lost it, if `before` was one.
    pub(super) fn apply(&mut self, me: RelayId, change: &Change, before: Option<Arc<Handle>>) {
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
    pub(super) fn refreshed(&self, peer: PeerId) {
        let routed = self.routed.get(&peer).into_iter().flatten();
        let handles = routed.filter_map(|session| self.sessions.get(session));
        handles.for_each(|handle| handle.note(Note::Refreshed(peer)));
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
