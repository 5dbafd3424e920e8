//! The relay's UDP sockets, below QUIC.
//!
//! - [`bind`]: with room for bursts.
//! - [`room`]: waited for only when the kernel has none.
//! - [`public`]: the one that clients send to. It answers probes beside QUIC, and counts first packets.

mod bind;
mod public;
mod room;

pub(crate) use bind::bind;
pub(crate) use public::PublicSocket;
pub(crate) use room::RoomySocket;
