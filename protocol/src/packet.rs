//! The QUIC packets between clients and relays: how large they are, in bytes of UDP payload, and how often they are acknowledged
//! (docs/protocol.md section 2).

use std::time::Duration;

/// The first packets' size, and what the detection of black holes falls back to: what every path carries on which QUIC works at
/// all (RFC 9000 section 14).
pub const MIN_MTU: u16 = 1200;

/// From this size on a datagram with [`MAX_PAYLOAD`](crate::datagram::MAX_PAYLOAD) fits a packet. Until a path is known to carry
/// such packets, such datagrams go by streams ([`detour`](crate::detour)). With the headers of UDP and IPv6 that is 1,328 on the
/// wire, more than the 1,280 that every IPv6 path must carry: nearly all carry 1,400 and more, and say so after one round trip.
///
/// Nothing is larger: no datagram needs it, and each size that is tried costs both ends a packet in every handshake.
pub const FULL_MTU: u16 = 1280;

/// From the first packets' size to the one that is tried: discovery has one step.
pub const ONE_STEP: u16 = FULL_MTU - MIN_MTU;

/// After a black hole was found, larger packets are tried again this much later. What looks like one may be a burst of losses.
pub const AFTER_BLACK_HOLE: Duration = Duration::from_secs(10);

/// How often a path that took no larger packets is asked again.
pub const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Packets that each end lets the other leave unacknowledged, if it knows how to (draft-ietf-quic-ack-frequency). Every
/// acknowledgement is a packet, and without this there is one for each two datagrams.
pub const UNACKNOWLEDGED: u32 = 10;

/// And how long it may leave them so, at most.
pub const ACK_DELAY: Duration = Duration::from_millis(25);
