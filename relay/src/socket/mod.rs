//! The relay's UDP sockets, below QUIC.
//!
//! - [`bind`]: with room for bursts.
//! - [`public`]: the one that clients send to. It answers probes beside QUIC, and counts first packets.
//! - [`room`]: what waits for the kernel, only when its buffer is full.

mod bind;
mod public;
mod room;

pub(crate) use bind::bind;
pub(crate) use public::PublicSocket;
