//! Real relays on loopback, spoken to frame by frame by a client that has no state machine of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod detour;
mod drain;
mod handover;
mod join;
mod limits;
mod mesh;
mod migration;
mod peer;
mod policy;
mod pool;
mod presence;
mod reclaim;
mod routes;
mod seeds;
