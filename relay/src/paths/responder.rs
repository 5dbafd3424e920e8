//! The answer to one probe.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use baton_protocol::bucket::Bucket;
use baton_protocol::path::probe::{Reply, id_of, reply};
use bytes::Bytes;

use super::ProbeKey;
use crate::directory::Directory;
use crate::metrics::{Metrics, Probe};

/// Answers in a second. A probe is repeated a few times if it gets none.
const BUDGET: NonZeroU64 = NonZeroU64::MIN.saturating_add(1999);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Responder {
    key: Arc<ProbeKey>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    budget: Mutex<Bucket>,
}

impl Responder {
    pub(crate) fn new(
        key: Arc<ProbeKey>,
        directory: Arc<Directory>,
        metrics: Arc<Metrics>,
        now: Instant,
    ) -> Self {
        Self { key, directory, metrics, budget: Mutex::new(Bucket::new(BUDGET, now)) }
    }

    /// What to send back for this packet from `from`; `None` if there is nothing to say. What is not a probe of ours is left to
    /// QUIC: the outer `None`.
    pub(crate) fn answer(
        &self,
        packet: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Option<Option<Bytes>> {
        let sealed = id_of(packet)?;
        let id = self.key.open(sealed)?;
        let session = self.directory.session(id.session);
        let good = session.is_some_and(|session| session.given.take(id.generation, id.number));
        if !good {
            self.metrics.probe(Probe::Unknown);
            return Some(None);
        }
        // The bucket is whole after every statement.
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if !budget.take(1, now) {
            self.metrics.probe(Probe::Limited);
            return Some(None);
        }
        self.metrics.probe(Probe::Answered);
        let said = Reply { ingress: self.directory.me(), observed: from };
        Some(Some(reply(&sealed, &said)))
    }
}
