//! Traffic that knows what it has lost: numbered blocks on streams, numbered datagrams beside them.
//!
//! It is the judge of "lost": what relays, clients or the operator count themselves is compared with it, not believed.

mod crowd;
mod datagrams;
mod exchange;
mod gaps;
mod pair;
mod stream;

pub use crowd::{Talked, pairs_across, pairs_apart, talk};
pub use datagrams::{Datagrams, Received};
pub use exchange::{Exchanged, Flow, NoRoute, exchange};
pub use gaps::Gaps;
pub use pair::{Offered, Outcome, Pair};
pub use stream::{Direction, converse};
