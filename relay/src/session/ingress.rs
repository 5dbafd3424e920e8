//! How much of a client's datagrams is taken: its reader asks, and counts with nobody else.

use std::time::Instant;

use baton_protocol::frame::{LimitKind, Limited};

use crate::rates::{Meter, Quantity, Rate, Rates};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ingress {
    rates: Rates,
    session: Meter,
    /// The limits of which its client hears, one bit for each.
    told: u32,
}

impl Ingress {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        Self { rates, session: Meter::new(rates.session, now), told: 0 }
    }

    /// From now on these hold, if they are others.
    pub(super) fn set(&mut self, rates: Rates, now: Instant) {
        if rates != self.rates {
            self.session.set(rates.session, now);
            self.rates = rates;
        }
    }

    /// Whether a datagram of so many bytes is taken, and what was met if not.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), Limited> {
        let limit = self.rates.session;
        self.session.take(bytes, now).map_err(|quantity| match quantity {
            Quantity::Datagrams => met(LimitKind::SessionDatagrams, limit.datagrams),
            Quantity::Bytes => met(LimitKind::SessionBytes, limit.bytes),
        })
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

fn met(kind: LimitKind, allowed: Option<Rate>) -> Limited {
    Limited { kind, allowed: allowed.map_or(0, Rate::get) }
}
