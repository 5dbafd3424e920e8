//! HELLO: the first frame of a session.

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_TICKET, MAX_TOKEN};
use crate::id::{Instance, PeerId};
use crate::varint;
use crate::wire::{Reader, WireError, put_bytes};

/// Why a client attaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Intent {
    /// It has no session. Watchers learn that it is (or was) away.
    Fresh,
    /// It moves here from a relay that sent GOAWAY. Watchers learn nothing.
    Handover,
    /// It lost its session and goes on here.
    Resume,
}

impl Intent {
    /// Every intent.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Handover, Self::Resume];

    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Fresh => 0,
            Self::Handover => 1,
            Self::Resume => 2,
        }
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Handover => "handover",
            Self::Resume => "resume",
        }
    }

    /// Reads the byte.
    pub fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("intent")?;
        Self::ALL
            .into_iter()
            .find(|intent| intent.number() == number)
            .ok_or(WireError::Value { field: "intent" })
    }
}

/// Bit of [`Hello::capabilities`]: datagrams that do not fit a path may go by streams ([`detour`](crate::detour)).
pub const CAPABILITY_STREAMS: u64 = 4;

/// Bit of [`Hello::capabilities`]: a handover that fails late is taken back by RECLAIM.
pub const CAPABILITY_RECLAIM: u64 = 8;

/// Bit of [`Hello::capabilities`]: new paths are probed, confirmed and reported ([`path`](crate::path)).
pub const CAPABILITY_PATHS: u64 = 0x10;

/// Bit of [`Hello::capabilities`]: whom a receiver lets in is its client's to say ([`policy`](crate::policy)).
pub const CAPABILITY_POLICIES: u64 = 0x20;

/// Bit of [`Hello::capabilities`]: this client says so before anything may come for it. Until its POLICY the session is no home.
pub const CAPABILITY_POLICY_FIRST: u64 = 0x40;

/// Who a client is, and what it wants.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Why it attaches.
    pub intent: Intent,
    /// Its public key.
    pub peer: PeerId,
    /// Its process.
    pub instance: Instance,
    /// Bits of optional features that it knows: [`CAPABILITY_STREAMS`] and the others.
    pub capabilities: u64,
    /// The access token, or empty: with `Fresh`, as the pool's mode demands.
    pub token: Bytes,
    /// The ticket of its last session, or empty: with `Handover` and `Resume`.
    pub ticket: Bytes,
    /// Over [`crate::hello::signature_input`].
    pub signature: [u8; 64],
}

impl std::fmt::Debug for Hello {
    /// Without token and ticket, which are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("intent", &self.intent)
            .field("peer", &self.peer)
            .field("token_length", &self.token.len())
            .field("ticket_length", &self.ticket.len())
            .finish_non_exhaustive()
    }
}

impl Hello {
    /// All fields before the signature: what the signature's context is the hash of.
    #[must_use]
    pub fn unsigned(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_unsigned(&mut out);
        out.freeze()
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        self.write_unsigned(out);
        out.put_slice(&self.signature);
    }

    fn write_unsigned(&self, out: &mut BytesMut) {
        out.put_u8(self.intent.number());
        out.put_slice(self.peer.as_bytes());
        out.put_slice(self.instance.as_bytes());
        varint::write(self.capabilities, out);
        put_bytes(&self.token, out);
        put_bytes(&self.ticket, out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            intent: Intent::read(body)?,
            peer: PeerId::from_bytes(body.array("peer")?),
            instance: Instance::from_bytes(body.array("instance")?),
            capabilities: body.varint("capabilities")?,
            token: body.bytes("token", MAX_TOKEN)?,
            ticket: body.bytes("ticket", MAX_TICKET)?,
            signature: body.array("signature")?,
        })
    }
}
