//! POLICY, RULE and RULED: whom a receiver lets in, as its client says it.

use bytes::{BufMut, BytesMut};

use crate::id::PeerId;
use crate::varint;
use crate::wire::{Reader, WireError};

/// The most peers in one RULE: a whole list takes a few frames.
pub const MAX_RULED: usize = 256;

/// Who may send to a session, of those whom no rule names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PolicyMode {
    /// The peers of its group. What holds until the client says something else.
    #[default]
    Group,
    /// Nobody.
    List,
    /// Every peer of the pool, of whatever group.
    Any,
}

impl PolicyMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Group, Self::List, Self::Any];

    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Group => 0,
            Self::List => 1,
            Self::Any => 2,
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::List => "list",
            Self::Any => "any",
        }
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("mode")?;
        let mode = Self::ALL.into_iter().find(|mode| mode.number() == number);
        mode.ok_or(WireError::Value { field: "mode" })
    }
}

/// What a rule does with the peers that it names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RuleVerb {
    /// Lets them in, whatever the mode.
    Allow,
    /// Takes that back.
    Disallow,
    /// Keeps them out, whatever else holds.
    Block,
    /// Takes that back.
    Unblock,
}

impl RuleVerb {
    /// Every verb.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Disallow, Self::Block, Self::Unblock];

    /// The byte on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Disallow => 1,
            Self::Block => 2,
            Self::Unblock => 3,
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Disallow => "disallow",
            Self::Block => "block",
            Self::Unblock => "unblock",
        }
    }
}

/// The body of RULE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What is done.
    pub verb: RuleVerb,
    /// With whom; at most [`MAX_RULED`].
    pub peers: Vec<PeerId>,
}

impl Rule {
    pub(super) fn write(&self, out: &mut BytesMut) {
        let peers = &self.peers[..self.peers.len().min(MAX_RULED)];
        out.put_u8(self.verb.number());
        varint::write(peers.len() as u64, out);
        peers.iter().for_each(|peer| out.put_slice(peer.as_bytes()));
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("verb")?;
        let verb = RuleVerb::ALL.into_iter().find(|verb| verb.number() == number);
        let verb = verb.ok_or(WireError::Value { field: "verb" })?;
        let count = body.count("number of peers", MAX_RULED)?;
        let peers = (0..count).map(|_| super::peer(body)).collect::<Result<_, _>>()?;
        Ok(Self { verb, peers })
    }
}

/// The body of RULED: what became of a POLICY or a RULE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruled {
    /// It holds, from the next datagram on.
    Kept,
    /// Nothing of it holds: a list would be longer than this.
    TooMany {
        /// How many names a list may have.
        allowed: u64,
    },
}

impl Ruled {
    pub(super) fn write(self, out: &mut BytesMut) {
        match self {
            Self::Kept => out.put_u8(0),
            Self::TooMany { allowed } => {
                out.put_u8(1);
                varint::write(allowed.min(varint::MAX), out);
            }
        }
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        match body.u8("result")? {
            0 => Ok(Self::Kept),
            1 => Ok(Self::TooMany { allowed: body.varint("allowed")? }),
            _ => Err(WireError::Value { field: "result" }),
        }
    }
}
