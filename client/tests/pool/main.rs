//! The client against real relays, on loopback.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "figures are for whoever reads them")]

mod allow;
mod attachment;
mod command;
mod events;
mod files;
mod fleet;
mod flows;
mod handover;
mod loss;
mod old_relay;
mod policy;
mod presence;
mod reclaim;
mod renewal;
mod seeds;
mod streams;
mod toll;
mod transfer;
mod udp;
mod verbs;
