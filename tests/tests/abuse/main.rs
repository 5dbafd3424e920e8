//! What a relay stands: each drill abuses it in one way, from a process that may have half of a processor, and proves that it
//! did; meanwhile neighbours get their datagrams through, the relay's memory stays below its limit, and afterwards nothing is
//! left of it. The attacks are `tests/abuse`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod attacker;
mod datagrams;
mod drill;
mod frames;
mod ground;
mod handshakes;
mod hellos;
mod machine;
mod neighbour;
/// Clients that speak frame by frame, and what their relays trust: those of the relay's own tests.
#[path = "../../../relay/tests/wire/peer.rs"]
#[allow(dead_code, reason = "this needs less of it than they do")]
mod peer;
#[path = "../../../relay/tests/wire/pool.rs"]
#[allow(dead_code, reason = "this needs less of it than they do")]
mod pool;
mod presence;
mod programs;
mod twins;
