//! Links to siblings, and what comes over them.

use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use baton_protocol::id::RelayId;

use super::reach::reach;
use super::{Directory, Duplicate, Sibling};
use crate::mesh::frame::MeshFrame;

impl Directory {
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
        state.departed.remove(&sibling.address);
        // Until the sibling has named its peers anew, those that it named before are held.
        state.presence.link_lost(sibling.relay, Instant::now());
        state.repoint_all(self.me, sibling.relay);
        let mut flood = Vec::new();
        for (peer, home) in state.presence.at(self.me) {
            let further = state.homes.get(peer).filter(|handle| handle.reaches_further());
            flood.extend(further.map(|handle| reach(handle)));
            flood.push(MeshFrame::Announce { peer: *peer, home: home.clone() });
        }
        sibling.count_sent(flood.iter().filter(|frame| frame.is_acknowledged()).count());
        self.metrics.mesh_links.set(i64::try_from(state.siblings.len()).unwrap_or(i64::MAX));
        drop(state);
        self.changed.notify_waiters();
        Ok(flood)
    }

    /// A link is down. Nothing happens if it had been replaced. A sibling that said goodbye has no peers any more.
    pub(crate) fn link_down(&self, sibling: &Arc<Sibling>, goodbye: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        if !state.is_current(sibling) {
            return;
        }
        state.siblings.remove(&sibling.relay);
        state.presence.link_lost(sibling.relay, now);
        state.forget_unannounced(sibling.relay);
        state.repoint_all(self.me, sibling.relay);
        if goodbye {
            state.departed.insert(sibling.address);
            let changes = state.presence.link_synced(sibling.relay, now);
            changes.iter().for_each(|change| state.apply(self.me, change));
        }
        self.metrics.mesh_links.set(i64::try_from(state.siblings.len()).unwrap_or(i64::MAX));
        drop(state);
        self.changed.notify_waiters();
    }

    /// A sibling told us something about a peer, or that it has named all of its peers. What comes over a link that has been
    /// replaced meanwhile is older than what came over the newer one: it is ignored.
    pub(crate) fn heard(&self, sibling: &Arc<Sibling>, frame: MeshFrame) {
        let now = Instant::now();
        let from = sibling.relay;
        let mut state = self.lock();
        if !state.is_current(sibling) {
            return;
        }
        let changes = match frame {
            MeshFrame::Announce { peer, home } if home.relay == from => {
                state.presence.announce(peer, home).into_iter().collect()
            }
            MeshFrame::Withdraw { peer, stamp, why } => {
                state.presence.withdraw(peer, stamp, from, why, now).into_iter().collect()
            }
            MeshFrame::Synced => state.presence.link_synced(from, now),
            MeshFrame::Reach { peer, stamp } => {
                state.heard_reach(self.me, peer, (stamp, from));
                Vec::new()
            }
            MeshFrame::Refused { sender, receiver } => {
                state.heard_refused(&sender, receiver);
                Vec::new()
            }
            _ => Vec::new(),
        };
        changes.iter().for_each(|change| state.apply(self.me, change));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether there is a link to the sibling that listens there.
    pub(crate) fn is_linked(&self, address: SocketAddr) -> bool {
        self.lock().siblings.values().any(|sibling| sibling.address == address)
    }

    /// Where the siblings listen.
    pub(crate) fn sibling_addresses(&self) -> Vec<SocketAddr> {
        self.lock().siblings.values().map(|sibling| sibling.address).collect()
    }

    /// Tells every sibling but one.
    pub(crate) fn gossip(&self, frame: &MeshFrame, except: RelayId) {
        let state = self.lock();
        let others = state.siblings.values().filter(|sibling| sibling.relay != except);
        others.for_each(|sibling| sibling.tell(frame.clone()));
    }

    /// Whether the relay that listens there ended, and is not back yet.
    pub(crate) fn said_goodbye(&self, address: SocketAddr) -> bool {
        self.lock().departed.contains(&address)
    }

    /// Nobody asks any more who listened there.
    pub(crate) fn forget_address(&self, address: SocketAddr) {
        self.lock().departed.remove(&address);
    }

    /// Tells the next sibling, in turn, where all others listen.
    pub(crate) fn exchange_members(&self) {
        let mut state = self.lock();
        let after = state.told_members.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = state.siblings.range((after, Bound::Unbounded));
        let Some(sibling) =
            rest.next().or(state.siblings.first_key_value()).map(|(_, s)| s.clone())
        else {
            return;
        };
        state.told_members = Some(sibling.relay);
        let others = state.siblings.values().filter(|other| other.relay != sibling.relay);
        others.for_each(|other| sibling.tell(MeshFrame::Member { address: other.address }));
    }
}
