//! FORWARD: a peer's datagram on its way from one relay to another.
//!
//! ```text
//! destination 16, sender 32, stamp 8, hops 1, payload
//! ```
//!
//! The stamp is that of the attachment which the sending relay believed in. A relay that knows a higher one passes the datagram
//! on to it, so that what was under way when a peer moved still arrives; hops are bounded, so that nothing circles.

use baton_protocol::id::{PeerId, PeerPrefix, Stamp};
use bytes::{BufMut, Bytes, BytesMut};

use crate::directory::{Directory, Sibling, Target};
use crate::metrics::{Direction, Dropped, Metrics};

const HEADER: usize = PeerPrefix::LENGTH + PeerId::LENGTH + 8 + 1;

/// How often a datagram may be passed on.
const MAX_HOPS: u8 = 3;

/// A forwarded datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// For whom: the first half of its id.
    pub destination: PeerPrefix,
    /// From whom.
    pub sender: PeerId,
    /// Of the destination's attachment, as the sending relay believed.
    pub stamp: Stamp,
    /// How often it was passed on.
    pub hops: u8,
    /// The peers' own.
    pub payload: Bytes,
}

impl Forward {
    /// Reads one; `None` if it ends within its header.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk::<{ PeerPrefix::LENGTH }>()?;
        let (sender, rest) = rest.split_first_chunk::<{ PeerId::LENGTH }>()?;
        let (stamp, rest) = rest.split_first_chunk::<8>()?;
        let hops = *rest.first()?;
        Some(Self {
            destination: PeerPrefix::from_bytes(*destination),
            sender: PeerId::from_bytes(*sender),
            stamp: Stamp::from_u64(u64::from_be_bytes(*stamp)),
            hops,
            payload: bytes.slice(HEADER..),
        })
    }

    /// The datagram on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self.destination, self.sender, self.stamp, self.hops, &self.payload)
    }
}

fn encode(
    destination: PeerPrefix,
    sender: PeerId,
    stamp: Stamp,
    hops: u8,
    payload: &[u8],
) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.put_slice(destination.as_bytes());
    out.put_slice(sender.as_bytes());
    out.put_u64(stamp.as_u64());
    out.put_u8(hops);
    out.put_slice(payload);
    out.freeze()
}

impl Sibling {
    /// Sends a peer's datagram to this sibling.
    pub(crate) fn forward(
        &self,
        destination: PeerPrefix,
        sender: PeerId,
        stamp: Stamp,
        hops: u8,
        payload: &[u8],
        metrics: &Metrics,
    ) {
        let datagram = encode(destination, sender, stamp, hops, payload);
        let way = Direction::MeshOut;
        // A link has no limit of its own.
        let _ = self.egress.send(&self.connection, sender, datagram, payload.len(), way, metrics);
    }
}

/// Takes a datagram that a sibling forwarded: to the session here, or on to where the peer has moved.
pub(super) fn receive(directory: &Directory, metrics: &Metrics, datagram: &Bytes) {
    let Some(forward) = Forward::decode(datagram) else {
        return metrics.dropped(Dropped::Malformed, 1);
    };
    let Forward { destination, sender, stamp: believed, hops, payload } = forward;
    metrics.passed(Direction::MeshIn, payload.len());
    // The group was judged where the sender is attached.
    match directory.find(destination) {
        Target::Here(receiver) => receiver.deliver(sender, &payload, metrics),
        Target::There { sibling, stamp, .. } if stamp > believed && hops < MAX_HOPS => {
            sibling.forward(destination, sender, stamp, hops + 1, &payload, metrics);
        }
        Target::There { .. } => metrics.dropped(Dropped::TooManyHops, 1),
        Target::Nowhere => metrics.dropped(Dropped::Offline, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_with_the_longest_payload_fits_a_packet_between_pods() {
        let longest = HEADER + baton_protocol::datagram::MAX_PAYLOAD;
        // What quinn takes of a packet of `mtu` bytes with 8-byte connection ids: 1 + 8 + 4 + 16 + 9 less.
        assert!(longest <= usize::from(super::super::identity::MTU) - 38, "{longest}");
    }

    #[test]
    fn cut_headers_are_no_datagrams() {
        let bytes = Bytes::from(vec![7; HEADER]);
        assert_eq!(Forward::decode(&bytes).unwrap().payload.len(), 0);
        for length in 0..HEADER {
            assert_eq!(Forward::decode(&bytes.slice(..length)), None);
        }
    }
}
