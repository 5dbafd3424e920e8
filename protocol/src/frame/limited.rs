//! LIMITED: a relay says, once, which limit a session met.

use bytes::{BufMut, BytesMut};

use crate::varint;
use crate::wire::{Reader, WireError};

/// Declares the limits of a session: the byte on the wire and the stable name.
macro_rules! limit_kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),+ $(,)?) => {
        /// A limit that a session can meet.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum LimitKind {
            $($(#[$doc])* $variant = $number,)+
        }

        impl LimitKind {
            /// Every limit.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The byte on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// Its stable name, which is a label of metrics too.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

limit_kinds! {
    /// Datagrams of the client, a second.
    SessionDatagrams = 1 "session_datagrams",
    /// Bytes of the client's datagrams, a second.
    SessionBytes = 2 "session_bytes",
    /// Datagrams of the client to one peer, a second.
    PairDatagrams = 3 "pair_datagrams",
    /// Bytes of them, a second.
    PairBytes = 4 "pair_bytes",
    /// Datagrams for the client, of whomever, a second.
    ReceiverDatagrams = 5 "receiver_datagrams",
    /// Bytes of them, a second.
    ReceiverBytes = 6 "receiver_bytes",
    /// Open routes.
    Routes = 7 "routes",
    /// Watched peers.
    Watches = 8 "watches",
}

/// The body of LIMITED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// Which limit.
    pub kind: LimitKind,
    /// How much it allows.
    pub allowed: u64,
}

impl Limited {
    pub(super) fn write(self, out: &mut BytesMut) {
        out.put_u8(self.kind.number());
        varint::write(self.allowed.min(varint::MAX), out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("kind")?;
        let kind = LimitKind::ALL.iter().find(|kind| kind.number() == number);
        let kind = *kind.ok_or(WireError::Value { field: "kind" })?;
        Ok(Self { kind, allowed: body.varint("allowed")? })
    }
}
