//! The header in front of every datagram's payload: who it is for, or who it is from.
//!
//! ```text
//! alias varint, payload            an alias of OPEN (to the relay) or of SENDER (to the client)
//! 0, 16 bytes, payload             long form, to the client only: the sender's first 16 bytes
//! 1, 8 bytes                       ECHO: answer it on the path it came by
//! 2, 8 bytes, zeros                ECHO_REPLY, padded by clients
//! 3, 8 bytes, 8 bytes, zeros       PATH_CONFIRM, by clients: the number of an attempt to migrate, and the nonce of ECHO; padded
//! 4, 8 bytes                       PATH_CONFIRMED, by relays: that number
//! ```
//!
//! Aliases below [`FIRST_ALIAS`] are reserved for such purposes; no route has one above [`LAST_ALIAS`].

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::PeerPrefix;
use crate::varint;

/// The smallest alias that OPEN and SENDER may use.
pub const FIRST_ALIAS: u64 = 16;

/// The largest alias: four bytes as a varint.
pub const LAST_ALIAS: u64 = (1 << 30) - 1;

/// The longest header: the long form.
pub const MAX_HEADER: usize = 1 + PeerPrefix::LENGTH;

/// The largest payload that every session carries: with [`MAX_HEADER`] it fits a QUIC packet of [`FULL_MTU`](crate::packet::FULL_MTU) bytes.
pub const MAX_PAYLOAD: usize = 1200;

/// How many bytes of datagrams an end hands to its QUIC stack at a time. QUIC stacks write them before the control stream, and
/// what was handed over cannot be taken back: the rest waits in a queue of the end's own (docs/protocol.md section 4).
pub const HANDED_OVER: usize = 16 * 1024;

/// What quinn counts of that for a datagram beyond its bytes.
pub const OVERHEAD: usize = size_of::<Bytes>();

/// What quinn says is free of that when it holds none: it counts the overhead of the next one in advance.
pub const NONE_HANDED_OVER: usize = HANDED_OVER - OVERHEAD;

const LONG: u64 = 0;
const ECHO: u64 = 1;
const ECHO_REPLY: u64 = 2;
const PATH_CONFIRM: u64 = 3;
const PATH_CONFIRMED: u64 = 4;

/// What clients pad to that buys the relay credit on a new path (RFC 9000 section 8.1 allows it three times what it received): a
/// packet with it has close to the 1,200 bytes that every path carries, and no more, because a new path may be narrower than
/// the one before.
pub const PADDED: usize = 1150;

/// What a datagram is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Datagram {
    /// Payload on a route.
    Aliased {
        /// Of the route.
        alias: u64,
        /// The peers' own.
        payload: Bytes,
    },
    /// Payload from a sender whose alias is not yet acknowledged.
    Long {
        /// The first half of the sender's id.
        sender: PeerPrefix,
        /// The peers' own.
        payload: Bytes,
    },
    /// Send the nonce back.
    Echo {
        /// Chosen by the asker.
        nonce: [u8; 8],
    },
    /// The nonce, sent back.
    EchoReply {
        /// As it came.
        nonce: [u8; 8],
    },
    /// The client has switched to the path that this came by, and asks whether it works.
    PathConfirm {
        /// The number of the attempt.
        attempt: u64,
        /// Of the latest echo of the relay; zeros if there was none.
        nonce: [u8; 8],
    },
    /// It does.
    PathConfirmed {
        /// The number of the attempt.
        attempt: u64,
    },
}

/// A datagram that has no header that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It ends within its header.
    #[error("the datagram ends within its header")]
    Short,
    /// Its alias is reserved and has no meaning yet.
    #[error("the datagram has the reserved alias {0}")]
    Reserved(u64),
}

/// The alias and the payload of a datagram on a route; `None` if it is none of these. It is what [`Datagram::decode`] gives,
/// for whoever has no use for a payload that can be kept.
#[must_use]
pub fn on_route(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (alias, length) = varint::read(bytes)?;
    matches!(alias, FIRST_ALIAS..=LAST_ALIAS).then(|| (alias, &bytes[length..]))
}

impl Datagram {
    /// Reads a datagram. The payload is a slice of `bytes`: copy it if it is to be kept.
    pub fn decode(bytes: &Bytes) -> Result<Self, DatagramError> {
        let (alias, length) = varint::read(bytes).ok_or(DatagramError::Short)?;
        let rest = bytes.slice(length..);
        match alias {
            LONG => {
                let (sender, payload) = split::<{ PeerPrefix::LENGTH }>(&rest)?;
                Ok(Self::Long { sender: PeerPrefix::from_bytes(sender), payload })
            }
            ECHO => Ok(Self::Echo { nonce: split(&rest)?.0 }),
            ECHO_REPLY => Ok(Self::EchoReply { nonce: split(&rest)?.0 }),
            PATH_CONFIRM => {
                let (attempt, rest) = split(&rest)?;
                Ok(Self::PathConfirm {
                    attempt: u64::from_be_bytes(attempt),
                    nonce: split(&rest)?.0,
                })
            }
            PATH_CONFIRMED => {
                Ok(Self::PathConfirmed { attempt: u64::from_be_bytes(split(&rest)?.0) })
            }
            FIRST_ALIAS..=LAST_ALIAS => Ok(Self::Aliased { alias, payload: rest }),
            alias => Err(DatagramError::Reserved(alias)),
        }
    }
}

fn split<const N: usize>(bytes: &Bytes) -> Result<([u8; N], Bytes), DatagramError> {
    let head = bytes.first_chunk::<N>().ok_or(DatagramError::Short)?;
    Ok((*head, bytes.slice(N..)))
}

/// What stands before a payload: here, or where datagrams have another form.
pub trait Header {
    /// In bytes.
    fn length(&self) -> usize;

    /// Writes it.
    fn write(&self, out: &mut BytesMut);

    /// A datagram with this header and this payload, of its own memory.
    fn before(&self, payload: &[u8]) -> Bytes {
        // Exactly as much as is needed: to freeze more would take another allocation.
        let mut out = BytesMut::with_capacity(self.length() + payload.len());
        self.write(&mut out);
        out.put_slice(payload);
        out.freeze()
    }
}

/// How a datagram on a route says whom it is for, or from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// The alias of a route, or of a sender.
    Alias(u64),
    /// The long form: the sender itself.
    Sender(PeerPrefix),
}

impl Header for Label {
    fn length(&self) -> usize {
        match self {
            Self::Alias(alias) => varint::length(*alias).unwrap_or(8),
            Self::Sender(_) => MAX_HEADER,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Alias(alias) => varint::write(*alias, out),
            Self::Sender(sender) => {
                varint::write(LONG, out);
                out.put_slice(sender.as_bytes());
            }
        }
    }
}

/// A datagram with this alias and payload.
#[must_use]
pub fn aliased(alias: u64, payload: &[u8]) -> Bytes {
    Label::Alias(alias).before(payload)
}

/// A datagram that names its sender itself.
#[must_use]
pub fn long(sender: PeerPrefix, payload: &[u8]) -> Bytes {
    Label::Sender(sender).before(payload)
}

/// A request to send `nonce` back. A relay's is small: it may not have more credit on a new path.
#[must_use]
pub fn echo(nonce: [u8; 8]) -> Bytes {
    of_path(ECHO, &[&nonce], 0)
}

/// The same, padded to so many bytes: a client's, see [`PADDED`].
#[must_use]
pub fn padded_echo(nonce: [u8; 8], size: usize) -> Bytes {
    of_path(ECHO, &[&nonce], size)
}

/// The answer to [`echo`], `size` bytes long; a client's is padded, see [`PADDED`].
#[must_use]
pub fn echo_reply(nonce: [u8; 8], size: usize) -> Bytes {
    of_path(ECHO_REPLY, &[&nonce], size)
}

/// Whether the path works that this comes by, as attempt number `attempt` hopes; padded, see [`PADDED`].
#[must_use]
pub fn path_confirm(attempt: u64, nonce: [u8; 8], size: usize) -> Bytes {
    of_path(PATH_CONFIRM, &[&attempt.to_be_bytes(), &nonce], size)
}

/// The path of this attempt works.
#[must_use]
pub fn path_confirmed(attempt: u64) -> Bytes {
    of_path(PATH_CONFIRMED, &[&attempt.to_be_bytes()], 0)
}

/// A datagram about a path, with zeros behind its fields up to so many bytes.
fn of_path(alias: u64, fields: &[&[u8; 8]], size: usize) -> Bytes {
    let size = size.max(1 + 8 * fields.len());
    let mut out = BytesMut::with_capacity(size);
    varint::write(alias, &mut out);
    fields.iter().for_each(|field| out.put_slice(*field));
    out.resize(size, 0);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::FULL_MTU;

    #[test]
    fn a_full_payload_in_long_form_fits_a_full_packet() {
        let datagram = long(PeerPrefix::from_bytes([1; 16]), &[0; MAX_PAYLOAD]);
        // Such a packet, less what comes before and after a DATAGRAM frame's data when the connection id has 17
        // bytes: 1 + 17 + 4 of short header, 16 of tag, and 9 that quinn sets aside for the frame's type and length.
        assert!(datagram.len() <= usize::from(FULL_MTU) - 47, "{}", datagram.len());
    }

    #[test]
    fn reserved_and_short_datagrams_are_errors() {
        let check = |bytes: &[u8], error| {
            assert_eq!(Datagram::decode(&Bytes::copy_from_slice(bytes)), Err(error))
        };
        check(&[], DatagramError::Short);
        check(&[0, 1, 2], DatagramError::Short);
        check(&[1, 1, 2], DatagramError::Short);
        check(&[3; 16], DatagramError::Short);
        check(&[4; 8], DatagramError::Short);
        check(&[5], DatagramError::Reserved(5));
        check(&[15, 0, 0], DatagramError::Reserved(15));
        check(&[0xc0, 0, 0, 0, 0x40, 0, 0, 0, 7], DatagramError::Reserved(1 << 30));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(alias in FIRST_ALIAS..=LAST_ALIAS, payload: Vec<u8>, sender: [u8; 16], nonce: [u8; 8]) {
            let payload = Bytes::from(payload);
            let on_a_route = aliased(alias, &payload);
            prop_assert_eq!(on_route(&on_a_route), Some((alias, &payload[..])));
            prop_assert_eq!(
                Datagram::decode(&aliased(alias, &payload)),
                Ok(Datagram::Aliased { alias, payload: payload.clone() })
            );
            let sender = PeerPrefix::from_bytes(sender);
            prop_assert_eq!(Datagram::decode(&long(sender, &payload)), Ok(Datagram::Long { sender, payload: payload.clone() }));
            prop_assert_eq!(Datagram::decode(&echo(nonce)), Ok(Datagram::Echo { nonce }));
            prop_assert_eq!(Datagram::decode(&padded_echo(nonce, payload.len())), Ok(Datagram::Echo { nonce }));
            prop_assert_eq!(Datagram::decode(&echo_reply(nonce, payload.len())), Ok(Datagram::EchoReply { nonce }));
            prop_assert_eq!(
                Datagram::decode(&path_confirm(alias, nonce, payload.len())),
                Ok(Datagram::PathConfirm { attempt: alias, nonce })
            );
            prop_assert_eq!(Datagram::decode(&path_confirmed(alias)), Ok(Datagram::PathConfirmed { attempt: alias }));
        }

        #[test]
        fn any_bytes_are_a_datagram_or_an_error(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let on_a_route = match Datagram::decode(&bytes) {
                Ok(Datagram::Aliased { alias, payload }) => Some((alias, payload)),
                _ => None,
            };
            let payload = on_a_route.as_ref().map(|(alias, payload)| (*alias, &payload[..]));
            prop_assert_eq!(on_route(&bytes), payload);
        }
    }
}
