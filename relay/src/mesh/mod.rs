//! Links between the relays of a pool: each pair of relays has one, so every relay knows where every peer is and can pass
//! datagrams on.
//!
//! A relay learns of its siblings from its seeds, from those who dial it, and from what its siblings say of others. It dials
//! whomever it has no link to. Two that dial each other at the same time keep the link of the lower relay id
//! ([`Sibling::replaces`](crate::directory::Sibling)).

pub(crate) mod forward;
pub(crate) mod frame;
mod identity;
mod link;
mod redial;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::id::RelayId;
use quinn::Endpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

pub use identity::IdentityError;
use redial::Redial;

use crate::directory::Directory;
use crate::keys::PoolKeys;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::seeds::Seeds;

/// Another link to the same relay is used.
pub(crate) const CLOSE_DUPLICATE: u32 = 1;
/// The sibling did not keep up with the news.
pub(crate) const CLOSE_OVERFLOW: u32 = 2;
/// The relay ends, and has no sessions any more.
pub(crate) const CLOSE_GOODBYE: u32 = 3;
/// The other end breaks the protocol of the mesh.
pub(crate) const CLOSE_VIOLATION: u32 = 4;
/// The other end is this relay itself.
pub(crate) const CLOSE_SELF: u32 = 5;

/// How often one sibling, in turn, is told of all others: news of a member may have found no room.
const EXCHANGE: Duration = Duration::from_secs(5);

/// A relay is ready after so long even if it could not link to every seed: one of them may be gone for good.
const SEED_PATIENCE: Duration = Duration::from_secs(10);

/// The most addresses that are dialed: far more than a pool has.
const MAX_ADDRESSES: usize = 1024;

/// What the links of a relay share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) me: RelayId,
    /// Random per process.
    pub(crate) boot: u64,
    /// Where siblings can reach this relay.
    pub(crate) advertised: SocketAddr,
    /// Addresses that were heard of.
    pub(crate) learned: mpsc::Sender<SocketAddr>,
}

/// Addresses that may wait to be looked at. One that finds no room is heard of again with the next link.
const MAX_LEARNED: usize = 256;

/// The mesh of one relay.
#[derive(Debug)]
pub(crate) struct Mesh {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    learned: mpsc::Receiver<SocketAddr>,
}

impl Mesh {
    /// Binds the mesh's socket.
    pub(crate) fn bind(
        listen: SocketAddr,
        advertised: Option<SocketAddr>,
        keys: &PoolKeys,
        boot: u64,
        directory: Arc<Directory>,
        metrics: Arc<Metrics>,
        lines: Arc<Lines>,
    ) -> Result<Self, IdentityError> {
        let endpoint = identity::endpoint(listen, keys)?;
        let bound = endpoint
            .local_addr()
            .map_err(|source| IdentityError::Bind { address: listen, source })?;
        let mut advertised = advertised.unwrap_or(bound);
        if advertised.port() == 0 {
            advertised.set_port(bound.port());
        }
        let (sender, learned) = mpsc::channel(MAX_LEARNED);
        let me = directory.me();
        let shared = Shared { directory, metrics, lines, me, boot, advertised, learned: sender };
        Ok(Self { endpoint, shared: Arc::new(shared), learned })
    }

    /// Where siblings can reach this relay.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.advertised
    }

    /// Keeps links until `stop`, then says goodbye. Sets `ready` once, when the mesh is joined.
    pub(crate) async fn run(
        mut self,
        mut seeds: watch::Receiver<Option<Seeds>>,
        ready: watch::Sender<bool>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut links = JoinSet::new();
        let mut known = BTreeSet::from([self.shared.advertised]);
        let mut exchange = tokio::time::interval(EXCHANGE);
        exchange.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let joining = join_mesh(self.shared.clone(), seeds.clone(), ready);
        links.spawn(async move {
            joining.await;
            None
        });
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(incoming) = self.endpoint.accept() => {
                    let shared = self.shared.clone();
                    links.spawn(async move {
                        link::accept(&shared, incoming).await;
                        None
                    });
                }
                Ok(()) = seeds.changed() => {
                    let addresses = seeds.borrow_and_update().as_ref().map(|seeds| seeds.addresses.clone());
                    for address in addresses.unwrap_or_default() {
                        self.dial(&mut links, &mut known, address, true);
                    }
                }
                Some(address) = self.learned.recv() => {
                    self.dial(&mut links, &mut known, address, false);
                }
                _ = exchange.tick() => self.shared.directory.exchange_members(),
                Some(ended) = links.join_next() => {
                    // A dialer that gave up: its address may be learned again.
                    if let Ok(Some(address)) = ended { known.remove(&address); }
                }
            }
        }
        self.endpoint.close(CLOSE_GOODBYE.into(), b"goodbye");
        links.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }

    fn dial(
        &self,
        links: &mut JoinSet<Option<SocketAddr>>,
        known: &mut BTreeSet<SocketAddr>,
        address: SocketAddr,
        seed: bool,
    ) {
        if (seed || known.len() < MAX_ADDRESSES) && known.insert(address) {
            links.spawn(keep_link(self.shared.clone(), self.endpoint.clone(), address, seed));
        }
    }
}

/// Keeps a link to `address` until it is forgotten ([`Redial`]); gives the address back then.
async fn keep_link(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    address: SocketAddr,
    seed: bool,
) -> Option<SocketAddr> {
    let mut redial = Redial::new(seed, Instant::now());
    loop {
        let changed = shared.directory.changed.notified();
        if shared.directory.is_linked(address) {
            // Either end may have dialed. While there is a link there is nothing to do.
            changed.await;
            redial.linked(Instant::now());
            continue;
        }
        match link::dial(&shared, &endpoint, address).await {
            Ok(()) => redial.linked(Instant::now()),
            Err(link::LinkError::Myself | link::LinkError::Known) => return None,
            Err(error) => debug!(%address, %error, "no link"),
        }
        let left = shared.directory.said_goodbye(address);
        let Some(pause) = redial.pause(left, Instant::now()) else {
            info!(%address, "forgotten: it cannot be reached");
            shared.directory.forget_address(address);
            return Some(address);
        };
        // Two relays that dial each other in step would reject each other in step.
        let jitter = rand::random::<u32>() % 64;
        tokio::time::sleep(pause + pause * jitter / 64).await;
    }
}

/// Waits until this relay is part of the mesh: it has its seeds, and is linked to all of them or has waited long enough.
async fn join_mesh(
    shared: Arc<Shared>,
    mut seeds: watch::Receiver<Option<Seeds>>,
    ready: watch::Sender<bool>,
) {
    let Ok(seeds) = seeds.wait_for(Option::is_some).await.map(|seeds| seeds.clone()) else {
        return;
    };
    let addresses = seeds.map(|seeds| seeds.addresses).unwrap_or_default();
    let linked = async {
        loop {
            let changed = shared.directory.changed.notified();
            if addresses.iter().all(|address| {
                *address == shared.advertised || shared.directory.is_linked(*address)
            }) {
                return;
            }
            changed.await;
        }
    };
    if tokio::time::timeout(SEED_PATIENCE, linked).await.is_err() {
        let missing: Vec<_> =
            addresses.iter().filter(|address| !shared.directory.is_linked(**address)).collect();
        warn!(?missing, "ready without these siblings");
    }
    info!(siblings = shared.directory.standing().siblings, "joined the mesh");
    let _ = ready.send(true);
}
