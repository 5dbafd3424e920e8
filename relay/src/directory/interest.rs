//! What a session wants to reach, and whom it wants to know of.

use std::sync::Arc;

use baton_protocol::frame::PeerState;
use baton_protocol::id::{PeerId, PeerPrefix};

use super::{Destination, Directory, Target, leave};
use crate::session::handle::{Handle, Note};

impl Directory {
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

    /// Where the peer with this prefix is. Datagrams of siblings come in without a route: nothing is remembered of them.
    pub(crate) fn find(&self, prefix: PeerPrefix) -> Target {
        let state = self.lock();
        let peer = state.presence.find(prefix);
        peer.map_or(Target::Nowhere, |peer| state.target(self.me, &peer))
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
}
