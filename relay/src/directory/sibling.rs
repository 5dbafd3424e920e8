//! Another relay of the pool, to which there is a link.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_protocol::id::RelayId;
use quinn::Connection;
use tokio::sync::mpsc;

use crate::egress::Egress;
use crate::mesh::frame::MeshFrame;
use crate::mesh::{CLOSE_DUPLICATE, CLOSE_OVERFLOW};

/// How much news may wait for a sibling. One that falls further behind is cut off, and told everything anew when it is back.
pub(crate) const MAX_NEWS: usize = 65_536;

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Sibling {
    pub(crate) relay: RelayId,
    /// Random per process: another one means that the relay was restarted.
    pub(crate) boot: u64,
    /// Where it listens for links.
    pub(crate) address: SocketAddr,
    /// Which of the two dialed.
    pub(crate) dialer: RelayId,
    pub(crate) connection: Connection,
    pub(crate) egress: Egress,
    news: mpsc::Sender<MeshFrame>,
    sent: AtomicU64,
    heard: AtomicU64,
}

impl Sibling {
    pub(crate) fn new(
        (relay, boot, address): (RelayId, u64, SocketAddr),
        dialer: RelayId,
        connection: Connection,
        news: mpsc::Sender<MeshFrame>,
    ) -> Self {
        let egress = Egress::default();
        Self {
            relay,
            boot,
            address,
            dialer,
            connection,
            egress,
            news,
            sent: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// Whether this link is to be used instead of `existing`, which leads to the same relay. Both ends of two links that were
    /// dialed at the same time must choose the same one: that of the lower relay id.
    pub(super) fn replaces(&self, existing: &Self, me: RelayId) -> bool {
        let restarted = self.boot != existing.boot;
        let dialed_again = self.dialer == existing.dialer;
        restarted || dialed_again || self.dialer == me.min(self.relay)
    }

    /// Queues news. If the queue is full the link is given up.
    pub(crate) fn tell(&self, frame: MeshFrame) {
        if frame.is_acknowledged() {
            self.count_sent(1);
        }
        if self.news.try_send(frame).is_err() {
            self.connection.close(CLOSE_OVERFLOW.into(), b"too far behind");
        }
    }

    /// Queues what need not arrive. It is dropped if so much waits that news might find no room.
    pub(super) fn mention(&self, frame: MeshFrame) {
        if self.news.capacity() > MAX_NEWS / 2 {
            let _ = self.news.try_send(frame);
        }
    }

    pub(super) fn count_sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::AcqRel);
    }

    /// The sibling says how much news it has taken in.
    pub(crate) fn acknowledged(&self, count: u64) {
        self.heard.fetch_max(count, Ordering::AcqRel);
    }

    /// Whether it knows everything that it was told.
    pub(super) fn has_heard_everything(&self) -> bool {
        self.heard.load(Ordering::Acquire) >= self.sent.load(Ordering::Acquire)
    }

    pub(super) fn close(&self, why: &str) {
        self.connection.close(CLOSE_DUPLICATE.into(), why.as_bytes());
    }
}
