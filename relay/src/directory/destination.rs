//! Where datagrams for one peer go.

use std::sync::Arc;

use arc_swap::ArcSwap;
use baton_protocol::id::{PeerId, Stamp};

use super::Sibling;
use crate::session::handle::Handle;

/// A peer as a destination: resolved once by each route, re-pointed when the peer moves.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) peer: PeerId,
    target: ArcSwap<Target>,
}

/// Where a peer is.
#[derive(Debug)]
pub(crate) enum Target {
    /// It is offline, or at a relay to which there is no link.
    Nowhere,
    /// It has a session here.
    Here(Arc<Handle>),
    /// It is at a sibling.
    There {
        /// Which.
        sibling: Arc<Sibling>,
        /// Of its attachment there, as we know it.
        stamp: Stamp,
        /// Who may reach it, unless it says something else.
        group: Arc<str>,
        /// It may have said something else: its relay knows.
        takes_strangers: bool,
    },
}

impl Target {
    /// Whether a sender of this group is of another than the peer is.
    pub(crate) fn is_stranger(&self, sender: &str) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Here(handle) => *handle.group != *sender,
            Self::There { group, .. } => **group != *sender,
        }
    }
}

impl Destination {
    pub(crate) fn new(peer: PeerId, target: Target) -> Self {
        Self { peer, target: ArcSwap::from_pointee(target) }
    }

    /// Where it is now.
    pub(crate) fn target(&self) -> arc_swap::Guard<Arc<Target>> {
        self.target.load()
    }

    pub(super) fn point(&self, target: Target) {
        self.target.store(Arc::new(target));
    }
}
