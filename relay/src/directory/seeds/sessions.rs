//! Sessions that are real for the directory. They share one connection, on which nothing is ever said.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use baton_protocol::ALPN;
use baton_protocol::frame::Intent;
use baton_protocol::id::{Instance, PeerId, RelayId, SessionId, Stamp};
use baton_protocol::liveness::IDLE_TIMEOUT;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::mpsc;

use crate::directory::{Directory, Sibling};
use crate::egress::{Egress, Guard};
use crate::mesh::frame::MeshFrame;
use crate::metrics::Metrics;
use crate::session::handle::{Handle, Inbox, Who};
use crate::transport;

/// Makes sessions.
pub(super) struct Sessions {
    connection: Connection,
    pub(super) metrics: Arc<Metrics>,
    _ends: [Endpoint; 2],
    _runtime: tokio::runtime::Runtime,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (connection, ends) = runtime.block_on(connect());
        Self { connection, metrics: Arc::new(Metrics::new()), _ends: ends, _runtime: runtime }
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

async fn connect() -> (Connection, [Endpoint; 2]) {
    let made = rcgen::generate_simple_self_signed(vec!["relay".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server =
        transport::server(vec![made.cert.der().clone()], key, Guard::On, IDLE_TIMEOUT).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Endpoint::server(server, any).unwrap();
    let client = Endpoint::client(any).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connecting = client.connect_with(config, server.local_addr().unwrap(), "relay").unwrap();
    let accept = async { server.accept().await.unwrap().await.unwrap() };
    let (ours, _) = tokio::join!(accept, connecting);
    (ours, [server, client])
}
