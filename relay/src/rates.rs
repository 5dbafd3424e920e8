//! How much may pass in a second, and wait: what a relay is told, and what counts it.

mod meter;
mod table;

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
pub use baton_protocol::bucket::Rate;
use baton_protocol::frame::{LimitKind, Limited};
use baton_protocol::id::PeerId;
use baton_protocol::session::Limits;

pub(crate) use meter::{Meter, Quantity};
pub(crate) use table::Table;

/// How many datagrams may pass, and how many bytes in them. `None` stands for any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throughput {
    /// Datagrams, in a second.
    pub datagrams: Option<Rate>,
    /// Bytes, in a second.
    pub bytes: Option<Rate>,
}

impl Throughput {
    /// No limit.
    pub const NONE: Self = Self { datagrams: None, bytes: None };

    pub(crate) const fn is_none(self) -> bool {
        self.datagrams.is_none() && self.bytes.is_none()
    }

    /// What of it was met, by the names that it has for datagrams and for bytes.
    pub(crate) fn met(self, quantity: Quantity, [datagrams, bytes]: [LimitKind; 2]) -> Limited {
        let (kind, allowed) = match quantity {
            Quantity::Datagrams => (datagrams, self.datagrams),
            Quantity::Bytes => (bytes, self.bytes),
        };
        Limited { kind, allowed: allowed.map_or(0, Rate::get) }
    }
}

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Handshakes that begin, of all clients.
    pub handshakes: Option<Rate>,
    /// Of those, from one IPv4 address, or one /64 of IPv6.
    pub handshakes_per_prefix: Option<Rate>,
    /// Attachments of each peer.
    pub attachments_per_peer: Option<Rate>,
    /// From each session.
    pub session: Throughput,
    /// From each session to each peer.
    pub pair: Throughput,
    /// To each session.
    pub receiver: Throughput,
    /// What each session may have at a time; for sessions that begin from then on.
    pub held: Limits,
    /// What may wait in the queues of all sessions together, in bytes.
    pub queued_bytes: Option<NonZeroU64>,
}

/// What one core can take, and some.
pub(crate) const HANDSHAKES: u64 = 3_000;

/// Two processes that fight for a key, and a client that has lost its mind, stay below this by their pauses.
pub(crate) const ATTACHMENTS_PER_PEER: u64 = 10;

/// A gigabit a second, and as many datagrams as that is in quarters of a kilobyte.
pub(crate) const SESSION_BYTES: u64 = 125_000_000;
pub(crate) const SESSION_DATAGRAMS: u64 = 500_000;

/// An eighth of the memory that a relay has in the chart.
pub(crate) const QUEUED_BYTES: u64 = 64 << 20;

impl Rates {
    /// No limit on what passes.
    pub const NONE: Self = Self {
        handshakes: None,
        handshakes_per_prefix: None,
        attachments_per_peer: None,
        session: Throughput::NONE,
        pair: Throughput::NONE,
        receiver: Throughput::NONE,
        held: Limits::DEFAULT,
        queued_bytes: None,
    };
}

impl Default for Rates {
    /// Generous: nobody should meet them who does no harm.
    fn default() -> Self {
        let session =
            Throughput { datagrams: Rate::new(SESSION_DATAGRAMS), bytes: Rate::new(SESSION_BYTES) };
        Self {
            handshakes: Rate::new(HANDSHAKES),
            attachments_per_peer: Rate::new(ATTACHMENTS_PER_PEER),
            session,
            queued_bytes: NonZeroU64::new(QUEUED_BYTES),
            ..Self::NONE
        }
    }
}

/// Peers whose attachments are counted each for itself.
const MAX_ATTACHING: usize = 16_384;

/// The rates that hold now. Whoever counts by them looks every now and then whether they are still the same.
#[derive(Debug)]
pub(crate) struct Current {
    rates: ArcSwap<Rates>,
    attachments: Mutex<Table<PeerId>>,
}

impl Current {
    pub(crate) fn new(rates: Rates) -> Self {
        let attachments = Table::new(attachments(rates), MAX_ATTACHING, Instant::now());
        Self { rates: ArcSwap::from_pointee(rates), attachments: Mutex::new(attachments) }
    }

    pub(crate) fn get(&self) -> Rates {
        **self.rates.load()
    }

    pub(crate) fn set(&self, rates: Rates) {
        self.rates.store(rates.into());
        self.lock().set(attachments(rates), Instant::now());
    }

    /// Whether this peer may attach now. It has shown that it is who it says: nobody takes this from another.
    pub(crate) fn may_attach(&self, peer: PeerId) -> bool {
        self.lock().take(peer, 1, Instant::now()).is_ok()
    }

    /// Nothing panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, Table<PeerId>> {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn attachments(rates: Rates) -> Throughput {
    Throughput { datagrams: rates.attachments_per_peer, bytes: None }
}
