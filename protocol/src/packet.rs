//! How large the QUIC packets between clients and relays are, in bytes of UDP payload (docs/protocol.md section 2).

/// The first packets' size, and the smallest that the detection of black holes may fall back to: what a datagram with
/// [`MAX_PAYLOAD`](crate::datagram::MAX_PAYLOAD) needs, so that it fits from the start. Below it nothing end to end works, and
/// after a burst of losses QUIC would stay below for a minute. With the headers of UDP and IPv6 that is 1,328 on the wire, more
/// than the 1,280 that every IPv6 path must carry: nearly all carry 1,400 and more, and where one does not, the handshake fails
/// instead of every large datagram.
pub const INITIAL_MTU: u16 = 1280;

/// The largest packet: what fits a pod network of 1450 bytes after another 41 of encapsulation between pods.
pub const MAX_MTU: u16 = 1350;
