//! What relays of a pool tell each other on a link's one stream, in frames of the same form as on a control stream.

use std::net::{IpAddr, SocketAddr};

use baton_protocol::cutter::Cutter;
use baton_protocol::frame::Intent;
use baton_protocol::id::{Instance, PeerId, RelayId, Stamp};
use baton_protocol::presence::{Home, Withdrawal};
use baton_protocol::ticket::MAX_GROUP;
use baton_protocol::varint;
use baton_protocol::wire::{Reader, WireError, put_bytes};
use bytes::{BufMut, Bytes, BytesMut};

/// The longest body: far more than any frame has.
const MAX_BODY: usize = 1024;

/// The version of this protocol. Relays of two versions of Baton are linked during every rollout, so it changes only together
/// with a way to speak the older one.
const VERSION: u8 = 1;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeshFrame {
    /// The first in both directions.
    Greeting {
        /// Who speaks.
        relay: RelayId,
        /// Random per process.
        boot: u64,
        /// Where it listens for links.
        address: SocketAddr,
    },
    /// Another relay of the pool listens there.
    Member {
        /// Where.
        address: SocketAddr,
    },
    /// A peer attached to the speaker.
    Announce {
        /// Which.
        peer: PeerId,
        /// Under which stamp, at which relay, of which process, in which group, and how.
        home: Home,
    },
    /// A peer's attachment to the speaker ended.
    Withdraw {
        /// Which peer.
        peer: PeerId,
        /// Of the attachment.
        stamp: Stamp,
        /// How.
        why: Withdrawal,
    },
    /// All peers that are attached to the speaker have been announced.
    Synced,
    /// So many ANNOUNCE and WITHDRAW of this link have been taken in.
    Heard {
        /// Counted from the link's start.
        count: u64,
    },
    /// A peer's attachment to the speaker may let in senders of other groups. It comes before the attachment is announced, or
    /// while it is current, and holds as long as that.
    Reach {
        /// Which peer.
        peer: PeerId,
        /// Of the attachment.
        stamp: Stamp,
    },
    /// What a peer of the listener sent to a peer of the speaker was not let in.
    Refused {
        /// Who sent it.
        sender: PeerId,
        /// To whom.
        receiver: PeerId,
    },
}

impl MeshFrame {
    /// Whether it is counted by [`MeshFrame::Heard`].
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Announce { .. } | Self::Withdraw { .. })
    }

    /// The frame as it goes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let number = self.write(&mut body);
        let mut out = BytesMut::with_capacity(body.len() + 4);
        varint::write(number, &mut out);
        put_bytes(&body, &mut out);
        out.freeze()
    }

    fn write(&self, out: &mut BytesMut) -> u64 {
        match self {
            Self::Greeting { relay, boot, address } => {
                out.put_u8(VERSION);
                out.put_u32(relay.as_u32());
                out.put_u64(*boot);
                write_address(*address, out);
                1
            }
            Self::Member { address } => {
                write_address(*address, out);
                2
            }
            Self::Announce { peer, home } => {
                out.put_slice(peer.as_bytes());
                out.put_u64(home.stamp.as_u64());
                out.put_u32(home.relay.as_u32());
                out.put_slice(home.instance.as_bytes());
                put_bytes(home.group.as_bytes(), out);
                out.put_u8(home.intent.number());
                3
            }
            Self::Withdraw { peer, stamp, why } => {
                out.put_slice(peer.as_bytes());
                out.put_u64(stamp.as_u64());
                out.put_u8(u8::from(*why == Withdrawal::Moved));
                4
            }
            Self::Synced => 5,
            Self::Heard { count } => {
                varint::write(*count, out);
                6
            }
            Self::Reach { peer, stamp } => {
                out.put_slice(peer.as_bytes());
                out.put_u64(stamp.as_u64());
                7
            }
            Self::Refused { sender, receiver } => {
                out.put_slice(sender.as_bytes());
                out.put_slice(receiver.as_bytes());
                8
            }
        }
    }

    fn read(number: u64, mut body: Reader) -> Result<Option<Self>, WireError> {
        let frame = match number {
            1 => {
                if body.u8("version")? != VERSION {
                    return Err(WireError::Value { field: "version" });
                }
                let relay = RelayId::from_u32(body.u32("relay")?);
                Self::Greeting { relay, boot: body.u64("boot")?, address: read_address(&mut body)? }
            }
            2 => Self::Member { address: read_address(&mut body)? },
            3 => {
                let peer = PeerId::from_bytes(body.array("peer")?);
                let home = Home {
                    stamp: Stamp::from_u64(body.u64("stamp")?),
                    relay: RelayId::from_u32(body.u32("relay")?),
                    instance: Instance::from_bytes(body.array("instance")?),
                    group: body.text("group", MAX_GROUP)?,
                    intent: Intent::read(&mut body)?,
                };
                Self::Announce { peer, home }
            }
            4 => Self::Withdraw {
                peer: PeerId::from_bytes(body.array("peer")?),
                stamp: Stamp::from_u64(body.u64("stamp")?),
                why: match body.u8("reason")? {
                    0 => Withdrawal::Gone,
                    1 => Withdrawal::Moved,
                    _ => return Err(WireError::Value { field: "reason" }),
                },
            },
            5 => Self::Synced,
            6 => Self::Heard { count: body.varint("count")? },
            7 => Self::Reach {
                peer: PeerId::from_bytes(body.array("peer")?),
                stamp: Stamp::from_u64(body.u64("stamp")?),
            },
            8 => Self::Refused {
                sender: PeerId::from_bytes(body.array("sender")?),
                receiver: PeerId::from_bytes(body.array("receiver")?),
            },
            // A newer relay may say more than this one understands.
            _ => return Ok(None),
        };
        body.end()?;
        Ok(Some(frame))
    }
}

/// Cuts frames out of a link's stream.
#[derive(Debug)]
pub struct MeshDecoder {
    cutter: Cutter,
}

impl Default for MeshDecoder {
    fn default() -> Self {
        Self { cutter: Cutter::new(MAX_BODY) }
    }
}

impl MeshDecoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.cutter.push(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<MeshFrame>, WireError> {
        let too_long = |_| WireError::Value { field: "length" };
        while let Some((number, body)) = self.cutter.cut().map_err(too_long)? {
            if let Some(frame) = MeshFrame::read(number, Reader::new(body))? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

fn write_address(address: SocketAddr, out: &mut BytesMut) {
    match address.ip() {
        IpAddr::V4(ip) => put_bytes(&ip.octets(), out),
        IpAddr::V6(ip) => put_bytes(&ip.octets(), out),
    }
    out.put_u16(address.port());
}

fn read_address(body: &mut Reader) -> Result<SocketAddr, WireError> {
    let bytes = body.bytes("address", 16)?;
    let ip = match bytes.len() {
        4 => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(&bytes[..]).ok().map(IpAddr::from),
        _ => None,
    };
    Ok(SocketAddr::new(ip.ok_or(WireError::Value { field: "address" })?, body.u16("port")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<MeshFrame> {
        let peer = PeerId::from_bytes([1; 32]);
        let home = Home {
            stamp: Stamp::from_u64(7),
            relay: RelayId::from_u32(3),
            instance: Instance::from_bytes([2; 16]),
            group: "team".into(),
            intent: Intent::Resume,
        };
        vec![
            MeshFrame::Greeting {
                relay: RelayId::from_u32(3),
                boot: 9,
                address: "10.0.0.1:4444".parse().unwrap(),
            },
            MeshFrame::Member { address: "[fd00::1]:4444".parse().unwrap() },
            MeshFrame::Announce { peer, home },
            MeshFrame::Withdraw { peer, stamp: Stamp::from_u64(7), why: Withdrawal::Moved },
            MeshFrame::Synced,
            MeshFrame::Heard { count: 300 },
            MeshFrame::Reach { peer, stamp: Stamp::from_u64(7) },
            MeshFrame::Refused { sender: peer, receiver: PeerId::from_bytes([9; 32]) },
        ]
    }

    #[test]
    fn what_is_written_is_read_byte_by_byte() {
        let mut decoder = MeshDecoder::default();
        let mut read = Vec::new();
        for byte in frames().iter().flat_map(|frame| frame.encode().to_vec()) {
            decoder.push(&[byte]);
            read.extend(decoder.next_frame().unwrap());
        }
        assert_eq!(read, frames());
    }

    #[test]
    fn a_newer_relays_frames_are_skipped_and_long_ones_refused() {
        let mut decoder = MeshDecoder::default();
        decoder.push(&[0x3f, 2, 0, 0]);
        decoder.push(&MeshFrame::Synced.encode());
        assert_eq!(decoder.next_frame(), Ok(Some(MeshFrame::Synced)));
        decoder.push(&[3, 0x80, 1, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(WireError::Value { field: "length" }));
    }

    #[test]
    fn cut_bodies_are_errors() {
        for frame in frames() {
            let mut body = BytesMut::new();
            let number = frame.write(&mut body);
            let body = body.freeze();
            assert_eq!(MeshFrame::read(number, Reader::new(body.clone())), Ok(Some(frame.clone())));
            for length in 0..body.len() {
                let cut = Reader::new(body.slice(..length));
                assert!(MeshFrame::read(number, cut).is_err(), "{frame:?} cut to {length}");
            }
        }
    }
}
