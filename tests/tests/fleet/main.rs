//! A whole fleet on loopback: real relays, real clients, a balancer by 5-tuple between them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod load;
mod narrow;
mod revert;
mod upgrade;
