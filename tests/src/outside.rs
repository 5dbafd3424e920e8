//! A machine outside the cluster.
//!
//! On our cluster it is a network namespace behind a router with NAT, whose port mappings and public
//! address can change. On an existing cluster it is this machine itself, where nothing can be changed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use baton_client::Sockets;
use baton_cluster::control::{Ask, Connection, Reply};
use baton_cluster::names;
use baton_cluster::netns::NetNs;
use tokio::net::{TcpStream, UdpSocket};

use crate::cluster::Kind;

/// A machine outside the cluster; it goes when this is dropped.
#[derive(Debug)]
pub struct Outside {
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    name: String,
    /// First, so that it is left before its namespace is removed.
    namespace: Arc<NetNs>,
    connection: Connection,
    public: Ipv4Addr,
}

impl Outside {
    /// This machine itself: for tests that need no cluster.
    #[must_use]
    pub const fn here() -> Self {
        Self { ours: None }
    }

    /// Makes one; the cluster must be up.
    ///
    /// # Panics
    /// When the supervisor does not make it.
    pub async fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if Kind::from_env() == Kind::Existing {
            return Self { ours: None };
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{count}", std::process::id());
        let mut connection = Connection::open().await.expect("the cluster is up");
        let add = Ask::AddClient { client: name.clone() };
        let Reply::Client { public } = connection.ask(add).await.expect("a client is made") else {
            panic!("adding a client answers with its address");
        };
        let namespace = NetNs::open(&names::client_namespace(&name)).expect("its namespace");
        let namespace = Arc::new(namespace);
        Self { ours: Some(Ours { name, namespace, connection, public }) }
    }

    /// A UDP socket with a port of its own.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub async fn udp(&self) -> io::Result<UdpSocket> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        match &self.ours {
            Some(ours) => ours.namespace.udp(any).await,
            None => UdpSocket::bind(any).await,
        }
    }

    /// What a client of the pool on this machine makes its sockets with.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        match &self.ours {
            Some(ours) => {
                let namespace = ours.namespace.clone();
                let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                Sockets::new(move |_| namespace.udp_at_once(any))
            }
            None => Sockets::default(),
        }
    }

    /// A TCP connection.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        match &self.ours {
            Some(ours) => ours.namespace.connect(address).await,
            None => TcpStream::connect(address).await,
        }
    }

    /// The name of its network namespace, where it has one.
    #[must_use]
    pub fn namespace(&self) -> Option<String> {
        self.ours.as_ref().map(|ours| names::client_namespace(&ours.name))
    }

    /// The address that the cluster sees, where it is known.
    #[must_use]
    pub fn public(&self) -> Option<Ipv4Addr> {
        self.ours.as_ref().map(|ours| ours.public)
    }

    /// Every flow gets a new source port.
    ///
    /// # Panics
    /// On an existing cluster.
    pub async fn rebind(&mut self) {
        let (connection, client) = self.ours();
        connection.ask(Ask::RebindClient { client }).await.expect("the router forgets");
    }

    /// Every flow gets a new source address; returns it.
    ///
    /// # Panics
    /// On an existing cluster.
    pub async fn change_address(&mut self) -> Ipv4Addr {
        let (connection, client) = self.ours();
        let moved = connection.ask(Ask::MoveClient { client }).await.expect("the router moves");
        let Reply::Client { public } = moved else { panic!("a move answers with the address") };
        if let Some(ours) = &mut self.ours {
            ours.public = public;
        }
        public
    }

    /// Loses this many packets in a thousand, in each direction.
    ///
    /// # Panics
    /// On an existing cluster.
    pub async fn lose(&mut self, per_mille: u16) {
        let (connection, client) = self.ours();
        connection.ask(Ask::LoseClient { client, per_mille }).await.expect("the router loses");
    }

    fn ours(&mut self) -> (&mut Connection, String) {
        let ours = self.ours.as_mut().expect("an outside machine of our own cluster");
        (&mut ours.connection, ours.name.clone())
    }
}
