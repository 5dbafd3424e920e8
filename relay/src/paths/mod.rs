//! Probes of paths that no connection uses yet (docs/protocol.md section 13): which ids are given to sessions, and how probes
//! are answered, beside QUIC, by the socket that both share.
//!
//! - [`seal`]: what an id is made of.
//! - [`given`]: which ids of one session are good, and not used yet.
//! - [`responder`]: the answer to one probe.
//!
//! Probes are taken out of what comes in by the [socket](crate::socket), before QUIC sees it.

mod given;
mod responder;
mod seal;

pub(crate) use given::{GIVEN, Given};
pub(crate) use responder::Responder;
pub use seal::{ProbeId, ProbeKey};
