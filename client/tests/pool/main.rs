//! The client against real relays, on loopback.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "figures are for whoever reads them")]

mod attachment;
mod command;
mod fleet;
mod handover;
mod loss;
mod presence;
mod streams;
mod transfer;
mod udp;
