//! Probes: how a client tries a path that its connection does not use yet.
//!
//! ```text
//! first byte     01 and six bits of any value: to the network it is a short header of QUIC (RFC 9000 section 17.3)
//! probe id       17 bytes, in place of the destination connection id: given by the relay, good for one probe
//! padding        any bytes, up to 1,200 in all: a path that carries this carries QUIC
//! ```
//!
//! The reply has the same first byte, the same id and the same size, and says in its padding which relay the probe came in at
//! and from which address, each byte combined by exclusive or with one of the id: some translators of addresses change what looks like
//! an address in a payload (RFC 8489 section 14.2 knows them, too).
//!
//! An id is opaque to clients. Whoever sends a reply has seen the probe, because nobody can guess an id.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::RouteId;
use crate::id::RelayId;
use crate::wire::Reader;

/// The size of a probe, and of its reply, in bytes of UDP payload: what every path carries on which QUIC works (RFC 9000
/// section 14).
pub const LENGTH: usize = 1200;

/// The first byte of a probe id. By it a relay tells probes from packets before it looks closer: of the other packets of this
/// size, one in 256 has it at the same place.
pub const MARK: u8 = 0xf0;

/// What the first byte of a short header has: the form bit is 0, the fixed bit is 1.
const SHORT_HEADER: u8 = 0x40;
const FORM_AND_FIXED: u8 = 0xc0;

const ID: std::ops::Range<usize> = 1..1 + size_of::<RouteId>();

/// What a reply says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The relay that the probe came in at.
    pub ingress: RelayId,
    /// Where the probe came from, as that relay sees it.
    pub observed: SocketAddr,
}

/// A probe with this id.
#[must_use]
pub fn probe(id: &RouteId) -> Bytes {
    padded(id, &[])
}

/// The id of what looks like a probe. Whether the id was given to anyone is the relay's to know.
#[must_use]
pub fn id_of(packet: &[u8]) -> Option<RouteId> {
    if packet.len() != LENGTH || packet[0] & FORM_AND_FIXED != SHORT_HEADER {
        return None;
    }
    let id = packet[ID].first_chunk()?;
    (id[0] == MARK).then_some(*id)
}

/// The answer to the probe with this id.
#[must_use]
pub fn reply(id: &RouteId, reply: &Reply) -> Bytes {
    let mut said = BytesMut::with_capacity(23);
    said.put_u32(reply.ingress.as_u32());
    crate::frame::write_address(reply.observed, &mut said);
    combine(&mut said, id);
    padded(id, &said)
}

/// What a reply says, and of which probe it is the answer.
#[must_use]
pub fn read_reply(packet: &[u8]) -> Option<(RouteId, Reply)> {
    let id = id_of(packet)?;
    let mut said = BytesMut::from(&packet[ID.end..]);
    combine(&mut said, &id);
    let mut fields = Reader::new(said.freeze());
    let ingress = RelayId::from_u32(fields.u32("ingress").ok()?);
    let observed = crate::frame::read_address(&mut fields).ok()?;
    Some((id, Reply { ingress, observed }))
}

fn combine(bytes: &mut [u8], id: &RouteId) {
    // The first byte of an id is the same in all of them.
    let keys = id[1..].iter().cycle();
    bytes.iter_mut().zip(keys).for_each(|(byte, key)| *byte ^= key);
}

/// A packet of the full size. What pads it looks like what it is among: ciphertext.
fn padded(id: &RouteId, said: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(LENGTH);
    packet.put_u8(SHORT_HEADER | (id[1] & !FORM_AND_FIXED));
    packet.put_slice(id);
    packet.put_slice(said);
    let mut state = id.iter().fold(0_u64, |state, byte| state.rotate_left(7) ^ u64::from(*byte));
    while packet.len() < LENGTH {
        // An LCG of Knuth's: that it can be guessed harms nobody.
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let left = LENGTH - packet.len();
        packet.put_slice(&state.to_be_bytes()[..left.min(4)]);
    }
    packet.freeze()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn id(seed: u8) -> RouteId {
        std::array::from_fn(|i| if i == 0 { MARK } else { seed.wrapping_add(i as u8) })
    }

    #[test]
    fn a_probe_is_read_and_its_reply_is_no_larger() {
        let probe = probe(&id(1));
        assert_eq!((probe.len(), id_of(&probe)), (LENGTH, Some(id(1))));
        let said = Reply {
            ingress: RelayId::from_u32(0xdead_beef),
            observed: "192.0.2.1:4443".parse().unwrap(),
        };
        let reply = reply(&id(1), &said);
        assert_eq!(reply.len(), probe.len());
        assert_eq!(read_reply(&reply), Some((id(1), said)));
        let address = [192, 0, 2, 1];
        assert!(
            !reply.windows(4).any(|bytes| bytes == address),
            "nobody finds the address to change it"
        );
    }

    #[test]
    fn what_is_no_probe_is_none() {
        let probe = probe(&id(1));
        let with = |position: usize, byte: u8| {
            let mut other = probe.to_vec();
            other[position] = byte;
            id_of(&other)
        };
        assert_eq!(with(0, 0xc0), None, "a long header");
        assert_eq!(with(0, 0x00), None, "no fixed bit");
        assert_eq!(with(1, 0x00), None, "another mark");
        assert!(with(0, 0x7f).is_some(), "the other bits may be anything");
        assert_eq!(id_of(&probe[..LENGTH - 1]), None);
        assert_eq!(id_of(&[]), None);
    }

    #[test]
    fn an_address_of_ipv4_is_one_whatever_the_socket() {
        let said = Reply {
            ingress: RelayId::from_u32(1),
            observed: "[::ffff:192.0.2.1]:5".parse().unwrap(),
        };
        let (_, read) = read_reply(&reply(&id(1), &said)).unwrap();
        assert_eq!(read.observed.to_string(), "192.0.2.1:5");
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(
            mut id: [u8; 17],
            relay: u32,
            port: u16,
            ip in prop_oneof![
                any::<[u8; 4]>().prop_map(IpAddr::from),
                any::<[u8; 16]>().prop_map(|ip| IpAddr::from(ip).to_canonical()),
            ],
        ) {
            id[0] = MARK;
            let said = Reply { ingress: RelayId::from_u32(relay), observed: (ip, port).into() };
            prop_assert_eq!(read_reply(&reply(&id, &said)), Some((id, said)));
        }

        #[test]
        fn any_bytes_are_a_reply_or_none(mut bytes in proptest::collection::vec(any::<u8>(), LENGTH)) {
            let _ = read_reply(&bytes);
            (bytes[0], bytes[1]) = (SHORT_HEADER, MARK);
            let _ = read_reply(&bytes);
        }
    }
}
