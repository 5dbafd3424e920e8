//! How much may pass in a second: what a relay is told, and what counts it.

mod meter;

use arc_swap::ArcSwap;
pub use baton_protocol::bucket::Rate;

pub(crate) use meter::{Meter, Quantity};

/// How many datagrams may pass, and how many bytes in them. `None` stands for any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throughput {
    /// Datagrams, in a second.
    pub datagrams: Option<Rate>,
    /// Bytes, in a second.
    pub bytes: Option<Rate>,
}

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// From each session.
    pub session: Throughput,
}

/// A gigabit a second, and as many datagrams as that is in quarters of a kilobyte.
pub(crate) const SESSION_BYTES: u64 = 125_000_000;
pub(crate) const SESSION_DATAGRAMS: u64 = 500_000;

impl Default for Rates {
    fn default() -> Self {
        let session =
            Throughput { datagrams: Rate::new(SESSION_DATAGRAMS), bytes: Rate::new(SESSION_BYTES) };
        Self { session }
    }
}

/// The rates that hold now. Whoever counts by them looks every now and then whether they are still the same.
#[derive(Debug)]
pub(crate) struct Current(ArcSwap<Rates>);

impl Current {
    pub(crate) fn new(rates: Rates) -> Self {
        Self(ArcSwap::from_pointee(rates))
    }

    pub(crate) fn get(&self) -> Rates {
        **self.0.load()
    }

    pub(crate) fn set(&self, rates: Rates) {
        self.0.store(rates.into());
    }
}
