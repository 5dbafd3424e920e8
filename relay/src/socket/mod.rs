//! The relay's UDP sockets, below QUIC.
//!
//! - [`bind`]: with room for bursts.
//! - [`eager`]: it is read before others have their turn.
//! - [`public`]: the one that clients send to. It answers probes beside QUIC, and counts first packets.
//! - [`room`]: what waits for the kernel, only when its buffer is full.

mod bind;
mod eager;
mod public;
mod room;

pub(crate) use bind::bind;
pub(crate) use public::PublicSocket;
