//! Load: thousands of peers in one process, which do what peers do, and know what they have lost.
//!
//! - [`Plan`]: how many peers, what they do, how often they change their addresses, come, go and vanish.
//! - [`run`]: carries it out against a pool, and gives a [`Report`]: a table, or lines of JSON.
//!
//! A client whose address changes, or which vanishes, has a router of its own in front: a [`Balancer`](crate::fleet::Balancer)
//! with one target. Peers come in pairs that talk in both directions. It is they who judge what was lost: no relay is asked.

mod ghosts;
mod meters;
mod pair;
mod peer;
mod plan;
mod report;
mod run;

pub use meters::{Meters, Rate};
pub use plan::{Mix, MixError, Pattern, Plan};
pub use report::{Report, Tally};
pub use run::run;
