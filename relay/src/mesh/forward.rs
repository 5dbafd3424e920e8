//! FORWARD: a peer's datagram on its way from one relay to another.
//!
//! ```text
//! destination 16, sender 32, stamp 8, hops 1, payload
//! ```
//!
//! The stamp is that of the attachment which the sending relay believed in. A relay that knows a higher one passes the datagram
//! on to it, so that what was under way when a peer moved still arrives; hops are bounded, so that nothing circles. The upper bit
//! of hops says that sender and destination are of two groups: only a relay that has said so of the destination (REACH) gets
//! such a datagram, so relays of a version that does not know this bit get none.
//!
//! Whether the destination lets the sender in is judged where it is attached.

use std::iter;

use baton_protocol::datagram::{self, Header as _};
use baton_protocol::id::{PeerId, PeerPrefix, Stamp};
use bytes::{BufMut, Bytes, BytesMut};

use crate::arrivals::Comes;
use crate::directory::{Directory, Sibling, Target};
use crate::egress::Outgoing;
use crate::metrics::{Direction, Dropped, Metrics, Tally};

const HEADER: usize = PeerPrefix::LENGTH + PeerId::LENGTH + 8 + 1;

/// How often a datagram may be passed on.
const MAX_HOPS: u8 = 3;

/// Beside the hops: the sender is of another group.
const STRANGER: u8 = 0x80;

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
    /// The sender is of another group than that attachment.
    pub stranger: bool,
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
        let flags = *rest.first()?;
        Some(Self {
            destination: PeerPrefix::from_bytes(*destination),
            sender: PeerId::from_bytes(*sender),
            stamp: Stamp::from_u64(u64::from_be_bytes(*stamp)),
            hops: flags & !STRANGER,
            stranger: flags & STRANGER != 0,
            payload: bytes.slice(HEADER..),
        })
    }

    /// The datagram on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { destination, sender, stamp, hops, stranger, payload } = self;
        let (destination, sender, stamp) = (*destination, *sender, *stamp);
        let header = Header { destination, sender, stamp, hops: *hops, stranger: *stranger };
        header.before(payload)
    }
}

/// All of it but the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) destination: PeerPrefix,
    pub(crate) sender: PeerId,
    pub(crate) stamp: Stamp,
    pub(crate) hops: u8,
    pub(crate) stranger: bool,
}

impl datagram::Header for Header {
    fn length(&self) -> usize {
        HEADER
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(self.destination.as_bytes());
        out.put_slice(self.sender.as_bytes());
        out.put_u64(self.stamp.as_u64());
        out.put_u8(self.hops | if self.stranger { STRANGER } else { 0 });
    }
}

impl Sibling {
    /// Sends a peer's datagrams to this sibling.
    pub(crate) fn forward<'p>(
        &self,
        header: Header,
        payloads: impl Iterator<Item = &'p [u8]>,
        comes: Comes,
        metrics: &Metrics,
    ) {
        let outgoing = Outgoing { sender: header.sender, header, comes };
        let (connection, way) = (&self.connection, Direction::MeshOut);
        // A link has no limit of its own.
        self.egress.send(connection, outgoing, payloads, way, metrics, |_| {});
    }
}

/// Takes a datagram that a sibling forwarded: to the session here, or on to where the peer has moved.
pub(super) fn receive(directory: &Directory, metrics: &Metrics, datagram: &Bytes, comes: Comes) {
    let Some(forward) = Forward::decode(datagram) else {
        return metrics.dropped(Dropped::Malformed, 1);
    };
    let Forward { destination, sender, stamp: believed, hops, stranger, payload } = forward;
    metrics.passed(Direction::MeshIn, Tally::one(payload.len()));
    let payload = iter::once(&payload[..]);
    // The groups are compared where the sender is attached, which knows the sender's for sure, and the destination's under that
    // stamp. Under another one it may be another.
    let stranger = |stamp: Stamp, group: &str| {
        let anew = (stamp != believed).then(|| directory.is_stranger(&sender, group)).flatten();
        anew.unwrap_or(stranger)
    };
    match directory.find(destination) {
        Target::Here(receiver) => {
            let stranger = stranger(receiver.stamp(), &receiver.group);
            let delivered = receiver.deliver(sender, stranger, payload, comes, metrics);
            if delivered.is_err() && receiver.may_be_told(sender) {
                directory.refused(sender, receiver.peer);
            }
        }
        Target::There { sibling, stamp, group, takes_strangers }
            if stamp > believed && hops < MAX_HOPS =>
        {
            let stranger = stranger(stamp, &group);
            if stranger && !takes_strangers {
                return metrics.dropped(Dropped::Offline, 1);
            }
            let header = Header { destination, sender, stamp, hops: hops + 1, stranger };
            sibling.forward(header, payload, comes, metrics);
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
        let longest = HEADER + datagram::MAX_PAYLOAD;
        // What quinn takes of a packet of `mtu` bytes with 8-byte connection ids: 1 + 8 + 4 + 16 + 9 less.
        assert!(longest <= usize::from(super::super::identity::MTU) - 38, "{longest}");
    }

    #[test]
    fn cut_headers_are_no_datagrams() {
        let bytes = Bytes::from(vec![7; HEADER]);
        let forward = Forward::decode(&bytes).unwrap();
        assert_eq!((forward.payload.len(), forward.hops, forward.stranger), (0, 7, false));
        for length in 0..HEADER {
            assert_eq!(Forward::decode(&bytes.slice(..length)), None);
        }
    }

    #[test]
    fn a_stranger_costs_no_byte_and_nobody_else_is_told_of() {
        let forward = Forward {
            destination: PeerPrefix::from_bytes([1; 16]),
            sender: PeerId::from_bytes([2; 32]),
            stamp: Stamp::from_u64(3),
            hops: 2,
            stranger: false,
            payload: Bytes::from_static(b"hello"),
        };
        let of_the_group = forward.encode();
        assert_eq!(of_the_group[HEADER - 1], 2, "as relays of the version before write it");
        let stranger = Forward { stranger: true, ..forward };
        assert_eq!(stranger.encode().len(), of_the_group.len());
        assert_eq!(Forward::decode(&stranger.encode()), Some(stranger));
    }
}
