//! The client against real relays, on loopback.

mod attachment;
mod command;
mod fleet;
mod handover;
mod loss;
mod presence;
mod streams;
mod transfer;
mod udp;
