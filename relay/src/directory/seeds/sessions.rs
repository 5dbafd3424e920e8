//! Sessions that are real for the directory. They share one connection, on which nothing is ever said.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use baton_protocol::frame::Intent;
use baton_protocol::id::{Instance, PeerId, RelayId, SessionId, Stamp};
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;

use crate::connected::connected;
use crate::directory::{Directory, Sibling};
use crate::egress::Egress;
use crate::mesh::frame::MeshFrame;
use crate::metrics::Metrics;
use crate::session::handle::{Handle, Inbox, Who};

/// Makes sessions.
pub(super) struct Sessions {
    connection: Connection,
    pub(super) metrics: Arc<Metrics>,
    _client: Connection,
    _ends: [Endpoint; 2],
    _runtime: tokio::runtime::Runtime,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (connection, client, ends) = runtime.block_on(connected());
        let metrics = Arc::new(Metrics::new());
        Self { connection, metrics, _client: client, _ends: ends, _runtime: runtime }
    }

    /// A directory without sessions.
    pub(super) fn directory(&self) -> Arc<Directory> {
        self.directory_of(RelayId::of_pod("a"))
    }

    /// That of this relay.
    pub(super) fn directory_of(&self, me: RelayId) -> Arc<Directory> {
        Arc::new(Directory::new(me, 10_000, self.metrics.clone()))
    }

    /// The end of a link to this relay, which that one dialed.
    pub(super) fn sibling(
        &self,
        relay: RelayId,
        dialer: RelayId,
        news: mpsc::Sender<MeshFrame>,
    ) -> Sibling {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let boot = u64::from(relay.as_u32());
        Sibling::new((relay, boot, address), dialer, self.connection.clone(), news)
    }

    /// A session that is not registered yet.
    pub(super) fn one(&self, id: SessionId) -> (Arc<Handle>, Inbox) {
        let mut peer = [0; 32];
        peer[..8].copy_from_slice(&id.as_u64().to_be_bytes());
        let who = Who {
            id,
            peer: PeerId::from_bytes(peer),
            instance: Instance::from_bytes([1; 16]),
            group: "".into(),
            intent: Intent::Fresh,
            stamp: Stamp::from_u64(1),
        };
        self.session(who)
    }

    /// This one, which is not registered yet.
    pub(super) fn session(&self, who: Who) -> (Arc<Handle>, Inbox) {
        let (handle, inbox) = Handle::new(who, self.connection.clone(), Egress::default());
        (Arc::new(handle), inbox)
    }
}
