//! The paths of a session: the owner's way to try and to change them.
//!
//! A client follows its machine by itself: when packets to the relay would leave from another address, it migrates. Whoever knows
//! better, or earlier, does so by a [`PathManager`]:
//!
//! ```no_run
//! # async fn example(client: &baton_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let paths = client.paths();
//! let mut path = paths.add(std::net::UdpSocket::bind("192.0.2.7:0")?)?;
//! let probed = path.probe().await?;              // the session has not noticed
//! println!("{:?} to {}", probed.rtt, probed.ingress);
//! let switched = path.switch().await?;           // it is on the new path
//! switched.confirm().await?;                     // which works; or the session is back on the old one
//! # Ok(())
//! # }
//! ```
//!
//! or, in one, `paths.migrate(socket)`. Whatever fails, the session goes on by the path that it has, and the same may be tried
//! again. There is one migration at a time, and no more than some in a second.

mod error;
mod follow;
mod goal;
mod link;
mod lookout;
mod pilot;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::id::RelayId;
use tokio::sync::oneshot;

pub use error::MigrationError;
pub(crate) use link::{News, Order, PathLink, Reply};
pub(crate) use pilot::{Pilot, padded};

use crate::client::Shared;
use crate::session::queue::lock;

/// The paths of a client's session. See the [module](self).
#[derive(Clone, Debug)]
pub struct PathManager {
    shared: Arc<Shared>,
}

/// What a probe found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed {
    /// The round trip over the new path.
    pub rtt: Duration,
    /// Where the relay saw the probe come from.
    pub observed: SocketAddr,
    /// The relay that the probe came in at.
    pub ingress: RelayId,
}

/// A session that is on another path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migrated {
    /// The address that its socket is bound to.
    pub local: Option<SocketAddr>,
    /// From the first probe until the relay confirmed it; from the switch, where that was an order of its own.
    pub took: Duration,
}

impl PathManager {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Adds a path: packets of it will leave by this socket. Nothing is sent yet.
    pub fn add(&self, socket: UdpSocket) -> Result<NewPath, MigrationError> {
        let home = lock(&self.shared.home);
        let link = home.as_ref().map(|home| home.paths.clone());
        let link = link.ok_or(MigrationError::NoSession)?;
        socket.set_nonblocking(true).map_err(MigrationError::Add)?;
        Ok(NewPath { link, socket: Arc::new(socket), probed: None })
    }

    /// Adds a path, probes it, switches to it, and confirms it. If the relay gives no probes, it is switched to at once.
    pub async fn migrate(&self, socket: UdpSocket) -> Result<Migrated, MigrationError> {
        let path = self.add(socket)?;
        path.link.ask(|reply| Order::Migrate { socket: path.socket.clone(), reply }).await
    }
}

/// A path that was added. Dropping it forgets it.
#[derive(Debug)]
pub struct NewPath {
    link: Arc<PathLink>,
    socket: Arc<UdpSocket>,
    /// What came of it when it was probed last.
    probed: Option<Probed>,
}

impl NewPath {
    /// Tries whether the path carries packets to the relay and back. The session stays where it is, and does not notice. A path
    /// that does not answer fails within [`Options::probe`](crate::Options::probe), and may be probed again.
    pub async fn probe(&mut self) -> Result<Probed, MigrationError> {
        let socket = self.socket.clone();
        let probed = self.link.ask(|reply| Order::Probe { socket, reply }).await?;
        self.probed = Some(probed);
        Ok(probed)
    }

    /// Puts the session on this path. From here on it is confirmed by itself, or taken back.
    pub async fn switch(self) -> Result<Switched, MigrationError> {
        let Self { link, socket, probed } = self;
        let number = link.ask(|reply| Order::Switch { socket, probed, reply }).await?;
        Ok(Switched { link, number })
    }
}

/// A path that is used, and not confirmed yet.
#[derive(Debug)]
pub struct Switched {
    link: Arc<PathLink>,
    number: u64,
}

impl Switched {
    /// Waits until the path is confirmed, or was taken back because it was not.
    pub async fn confirm(self) -> Result<Migrated, MigrationError> {
        self.link.ask(|reply| Order::Confirm { number: self.number, reply }).await
    }

    /// Goes back to the path before. If it was confirmed already, it stays.
    pub async fn roll_back(self) -> Result<(), MigrationError> {
        self.link.ask(|reply| Order::RollBack { number: self.number, reply }).await
    }
}

impl PathLink {
    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, MigrationError> {
        let (reply, answer) = oneshot::channel();
        self.order(order(reply)).await.map_err(|_| MigrationError::SessionEnded)?;
        answer.await.map_err(|_| MigrationError::SessionEnded)?
    }
}
