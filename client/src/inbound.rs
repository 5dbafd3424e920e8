//! What comes from other peers, over whichever session: handed to the inner endpoint or to the owner.
//!
//! Both travel as payload of relayed datagrams. QUIC packets are told by their fixed bit (RFC 9000 section 17.2), which the
//! inner endpoints never grease; the owner's datagrams begin with [`OWN`], in which that bit is zero.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use baton_protocol::id::{PeerId, PeerPrefix};
use baton_protocol::policy::Policy;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::session::queue::lock;

/// The first byte of the owner's datagrams.
pub(crate) const OWN: u8 = 0;

/// The fixed bit of QUIC packets.
const FIXED_BIT: u8 = 0x40;

/// Datagrams that the owner has not taken yet.
const OWN_WAITING: usize = 1024;

/// Packets that the inner endpoint has not taken yet.
const INNER_WAITING: usize = 1024;

/// Senders whose names are known. When there are more, all are forgotten: relays name them again, session by session.
const NAMES: usize = 4096;

/// The way in.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    pub(crate) admission: Admission,
    own: Mutex<VecDeque<(PeerId, Bytes)>>,
    own_came: Notify,
    inner: Mutex<Inner>,
    names: Mutex<HashMap<PeerPrefix, PeerId>>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    packets: VecDeque<(PeerId, Bytes)>,
    waiting: Option<Waker>,
}

impl Inbound {
    /// Takes what came from `peer`. Never waits: if there is too much, the owner loses the oldest and QUIC the newest.
    pub(crate) fn deliver(&self, peer: PeerId, payload: Bytes) {
        match payload.first() {
            _ if !self.admission.lets_in(&peer) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Some(first) if first & FIXED_BIT != 0 => self.deliver_inner(peer, payload),
            Some(&OWN) => {
                let mut own = lock(&self.own);
                if own.len() == OWN_WAITING {
                    own.pop_front();
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                // A copy: the payload is a slice of all that was received with it.
                own.push_back((peer, Bytes::copy_from_slice(&payload[1..])));
                drop(own);
                self.own_came.notify_one();
            }
            // Kinds of later versions.
            _ => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Others are let in from now. What waits of those who are not is dropped.
    pub(crate) fn set_policy(&self, policy: &Policy) {
        self.admission.set(policy);
        let mut dropped = 0;
        let mut keep = |waiting: &mut VecDeque<(PeerId, Bytes)>| {
            let before = waiting.len();
            waiting.retain(|(peer, _)| self.admission.lets_in(peer));
            dropped += before - waiting.len();
        };
        keep(&mut lock(&self.own));
        keep(&mut lock(&self.inner).packets);
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    /// The sender whose id begins so, if any session has ever named it. So a session that is new has nothing to wait for; but where
    /// strangers are let in, it must say whether this is one.
    pub(crate) fn name(&self, prefix: PeerPrefix) -> Option<PeerId> {
        if self.admission.admits_strangers() {
            return None;
        }
        lock(&self.names).get(&prefix).copied()
    }

    /// A relay has named a sender.
    pub(crate) fn add_name(&self, peer: PeerId) {
        let mut names = lock(&self.names);
        if names.len() == NAMES {
            names.clear();
        }
        names.insert(peer.prefix(), peer);
    }

    fn deliver_inner(&self, peer: PeerId, packet: Bytes) {
        let mut inner = lock(&self.inner);
        if inner.packets.len() == INNER_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        inner.packets.push_back((peer, packet));
        let waker = inner.waiting.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next datagram of another peer's owner.
    pub(crate) async fn datagram(&self) -> (PeerId, Bytes) {
        loop {
            let (next, more) = {
                let mut own = lock(&self.own);
                (own.pop_front(), !own.is_empty())
            };
            if more {
                // A `Notify` keeps one permit; there may be more datagrams, and more who wait for them.
                self.own_came.notify_one();
            }
            match next {
                Some(datagram) => return datagram,
                None => self.own_came.notified().await,
            }
        }
    }

    /// Packets for the inner endpoint, at most `limit`.
    pub(crate) fn poll_inner(
        &self,
        context: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Vec<(PeerId, Bytes)>> {
        let mut inner = lock(&self.inner);
        if inner.packets.is_empty() {
            inner.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = inner.packets.len().min(limit);
        Poll::Ready(inner.packets.drain(..count).collect())
    }

    /// How many were dropped because nobody took them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.own).len()
    }
}
