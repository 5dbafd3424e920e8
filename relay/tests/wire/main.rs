//! Real relays on loopback, spoken to frame by frame by a client that has no state machine of its own.

mod drain;
mod join;
mod mesh;
mod migration;
mod peer;
mod pool;
mod routes;
