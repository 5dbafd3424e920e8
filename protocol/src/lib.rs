//! Baton's session protocol, version 1: identities, frames, and the state machines of both ends.
//!
//! Everything here is deterministic. There is no socket, no runtime, no clock and no source of randomness in this
//! crate: time and random values are arguments, bytes come in, frames and orders come out. `docs/protocol.md` is the
//! norm; where this crate and that page disagree, one of them has a bug.
//!
//! - [`id`]: who is who: peers, instances, relays, sessions, stamps.
//! - [`varint`], [`wire`]: numbers and bytes. [`cutter`]: the form of all frames.
//! - [`frame`]: the frames of the control stream, and [`frame::Decoder`], which cuts them out of a stream.
//! - [`datagram`]: the header in front of every datagram's payload.
//! - [`detour`]: the way of datagrams that do not fit the path.
//! - [`path`]: what either end knows of the client's addresses. [`packet`]: how large packets are. [`liveness`]: how long an end may be silent.
//! - [`hello`]: what a client signs, and how that is verified.
//! - [`ticket`]: what lets a session go on at another relay.
//! - [`token`]: what makers and judges of access tokens agree on.
//! - [`pkcs8`]: Ed25519 keys as TLS takes them.
//! - [`close`]: the codes that connections end with.
//! - [`class`]: why a move failed, in names that are also metric labels.
//! - [`session`]: the relay's end of one session.
//! - [`attachment`]: the client's end: which relay it is attached to, and how it gets to the next one.
//! - [`bucket`]: how much may pass in a second.
//! - [`policy`]: whom a receiver lets in.
//! - [`hold`]: when datagrams wait for control bytes, at either end.
//! - [`presence`]: where every peer of a pool is, as one relay knows it.

pub mod attachment;
pub mod bucket;
pub mod class;
pub mod close;
pub mod cutter;
pub mod datagram;
pub mod detour;
pub mod frame;
pub mod hello;
pub mod hold;
pub mod id;
pub mod liveness;
pub mod packet;
pub mod path;
pub mod pkcs8;
pub mod policy;
pub mod presence;
pub mod renewal;
pub mod session;
pub mod ticket;
pub mod token;
pub mod varint;
pub mod wire;

/// The ALPN token of the protocol between clients and relays.
pub const ALPN: &[u8] = b"baton/1";

/// The ALPN token of the connections between peers, which run inside relayed datagrams.
pub const ALPN_END_TO_END: &[u8] = b"baton-e2e/1";

/// How long a client may take from the end of the TLS handshake to a whole HELLO.
pub const HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
