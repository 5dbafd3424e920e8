//! How much of a client's datagrams is taken: its reader asks, and counts with nobody else.

use std::time::Instant;

use baton_protocol::frame::{LimitKind, Limited};
use baton_protocol::id::PeerId;

use crate::rates::{Meter, Rates, Table};

const SESSION: [LimitKind; 2] = [LimitKind::SessionDatagrams, LimitKind::SessionBytes];
const PAIR: [LimitKind; 2] = [LimitKind::PairDatagrams, LimitKind::PairBytes];

/// Peers that it sends to whose datagrams are counted each for itself.
const MAX_PAIRS: usize = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ingress {
    rates: Rates,
    session: Meter,
    /// By receiver, and not by route: who opens a route again has no more of it.
    pairs: Table<PeerId>,
    /// The limits of which its client hears, one bit for each.
    told: u32,
}

impl Ingress {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        let pairs = Table::new(rates.pair, MAX_PAIRS, now);
        Self { rates, session: Meter::new(rates.session, now), pairs, told: 0 }
    }

    /// From now on these hold, if they are others.
    pub(super) fn set(&mut self, rates: Rates, now: Instant) {
        if rates != self.rates {
            self.session.set(rates.session, now);
            self.pairs.set(rates.pair, now);
            self.rates = rates;
        }
    }

    /// Whether a datagram of so many bytes is taken, and what was met if not.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), Limited> {
        let met = |quantity| self.rates.session.met(quantity, SESSION);
        self.session.take(bytes, now).map_err(met)
    }

    /// Whether so much payload is passed on to this peer.
    pub(super) fn pass(&mut self, to: PeerId, bytes: usize, now: Instant) -> Result<(), Limited> {
        let met = |quantity| self.rates.pair.met(quantity, PAIR);
        self.pairs.take(to, bytes, now).map_err(met)
    }

    /// Whether the client is to be told of this limit.
    pub(super) fn is_news(&self, limited: Limited) -> bool {
        self.told & bit(limited) == 0
    }

    /// It will be told.
    pub(super) fn told(&mut self, limited: Limited) {
        self.told |= bit(limited);
    }
}

const fn bit(limited: Limited) -> u32 {
    1 << limited.kind.number()
}
