//! Baton's relay: sessions of peers, forwarded to each other, that survive the relay's own replacement.
//!
//! - [`Relay`]: a running relay. [`Config`] is what it needs.
//! - [`drain`]: the shutdown state; the part that everything else exists for.
//! - `sieve`, `door`: who may begin. [`greeting`]: what strangers say first.
//! - [`auth`], [`keys`]: who may attach, and the keys that relays of a pool share.
//! - [`rates`]: how much may pass.
//! - `paths`: probes of paths, answered beside QUIC.
//! - `directory`: who is where, behind the one lock.
//! - `session`: the life of one session; `mesh`: the links to other relays of the pool.
//! - [`status`], `admin`, [`metrics`]: what a relay says of itself.

mod admin;
mod arrivals;
pub mod auth;
pub mod config;
mod congestion;
#[cfg(test)]
mod connected;
mod detour;
mod directory;
mod door;
pub mod drain;
mod egress;
mod epoch;
mod followed;
pub mod greeting;
pub mod keys;
mod lines;
mod mailbox;
mod mesh;
pub mod metrics;
mod paths;
pub mod program;
pub mod rates;
mod relay;
pub mod seeds;
mod session;
mod siblings;
mod sieve;
mod socket;
pub mod status;
pub mod transport;
mod turn;
mod version;

/// What relays of a pool tell each other: for the fuzzer, and no interface for anyone else.
#[doc(hidden)]
pub mod mesh_wire {
    pub use crate::mesh::forward::Forward;
    pub use crate::mesh::frame::{MeshDecoder, MeshFrame};
}

/// What probe ids are made of: for the fuzzer, and no interface for anyone else.
#[doc(hidden)]
pub mod probe_ids {
    pub use crate::paths::{ProbeId, ProbeKey};
}

pub use admin::AdminError;
pub use baton_protocol::liveness::Timers;
pub use mesh::IdentityError;
pub use relay::{Config, Relay, Reload, StartError};
pub use version::version;
