//! Links to siblings, and what comes over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use baton_protocol::frame::Intent;
use baton_protocol::id::RelayId;

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
}
