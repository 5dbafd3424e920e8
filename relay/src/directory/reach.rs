//! Which peers of other relays may let in senders of other groups, and what a sender learns that was not let in.
//!
//! A relay passes a datagram for a peer of another group on only if that peer's relay has said that some such may be let in, so
//! that a sender learns no sooner of a peer that lets no strangers in than of one that is not there. Whether *this* sender is
//! let in is judged where the receiver is, by its session's policy and nothing else: what is known here is a hint. It is told
//! once for each attachment, and holds as long as that, whatever its policy becomes: nobody can make relays talk by changing
//! their mind.

use std::sync::Arc;

use baton_protocol::id::{PeerId, RelayId, Stamp};
use baton_protocol::presence::Home;

use super::{Directory, State};
use crate::mesh::frame::MeshFrame;
use crate::session::handle::{Handle, Note};

impl Directory {
    /// The session's policy may let strangers in from now. Every sibling is told, now and with each announcement.
    pub(crate) fn reaches_further(&self, handle: &Arc<Handle>) {
        let state = self.lock();
        let is_home = state.homes.get(&handle.peer).is_some_and(|home| Arc::ptr_eq(home, handle));
        if handle.set_reaches_further() && is_home {
            state.tell_siblings(&reach(handle));
        }
    }

    /// Whether a sender is of another group than this one; `None` if it is not known.
    pub(crate) fn is_stranger(&self, sender: &PeerId, group: &str) -> Option<bool> {
        self.lock().presence.home(sender).map(|home| home.group != group)
    }

    /// A datagram of `sender`, who is at a sibling, was not let in: its relay says to it what it would say if there were no
    /// receiver. That is a courtesy to the sender, and waits for nothing: it is dropped where there is much to tell.
    pub(crate) fn refused(&self, sender: PeerId, receiver: PeerId) {
        let state = self.lock();
        let Some(home) = state.presence.home(&sender) else { return };
        if let Some(sibling) = state.siblings.get(&home.relay) {
            sibling.mention(MeshFrame::Refused { sender, receiver });
        }
    }
}

impl State {
    /// A sibling says that an attachment of a peer to it may let strangers in. It may say so before it announces it.
    pub(super) fn heard_reach(&mut self, me: RelayId, peer: PeerId, of: (Stamp, RelayId)) {
        if self.reach.get(&peer).is_none_or(|known| *known < of) {
            self.reach.insert(peer, of);
            self.repoint(me, peer);
        }
    }

    /// Whether this attachment may let strangers in.
    pub(super) fn takes_strangers(&self, peer: &PeerId, home: &Home) -> bool {
        self.reach.get(peer) == Some(&(home.stamp, home.relay))
    }

    /// Something became of a peer: what was known of an attachment that is over is forgotten.
    pub(super) fn forget_reach(&mut self, peer: &PeerId) {
        let Some(last) = self.presence.last(peer).map(|home| (home.stamp, home.relay)) else {
            return;
        };
        let is_online = self.presence.home(peer).is_some();
        if self.reach.get(peer).is_some_and(|of| *of < last || *of == last && !is_online) {
            self.reach.remove(peer);
        }
    }

    /// The link to this sibling is lost: what it said of attachments that it never announced is forgotten.
    pub(super) fn forget_unannounced(&mut self, relay: RelayId) {
        let presence = &self.presence;
        let is_announced = |peer: &PeerId, of: &(Stamp, RelayId)| {
            presence.home(peer).is_some_and(|home| (home.stamp, home.relay) == *of)
        };
        self.reach.retain(|peer, of| of.1 != relay || is_announced(peer, of));
    }

    /// A sibling says that it did not let in what a peer here sent.
    pub(super) fn heard_refused(&self, sender: &PeerId, receiver: PeerId) {
        if let Some(handle) = self.homes.get(sender) {
            handle.note(Note::Unreached(receiver));
        }
    }
}

/// What siblings are told of a session that may let strangers in.
pub(super) fn reach(handle: &Handle) -> MeshFrame {
    MeshFrame::Reach { peer: handle.peer, stamp: handle.stamp() }
}
