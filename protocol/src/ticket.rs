//! Tickets: what lets a session go on at another relay of the pool without an access token.
//!
//! A ticket is opaque to clients. It is not encrypted: it holds nothing that its client does not know. It is authenticated
//! under a key of the pool (HMAC-SHA-256), so every relay of the pool can tell that one of them made it.

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::frame::MAX_TICKET;
use crate::id::{Instance, PeerId, Stamp};
use crate::wire::{Reader, WireError, put_bytes};

const VERSION: u8 = 3;
const TAG: usize = 32;

/// The longest group name in bytes.
pub const MAX_GROUP: usize = 128;

/// A key that authenticates tickets.
#[derive(Clone)]
pub struct TicketKey([u8; 32]);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey")
    }
}

impl TicketKey {
    /// The key with these secret bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self) -> Hmac<Sha256> {
        // This form of construction takes keys of exactly the block size, so it cannot fail on length.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        Hmac::<Sha256>::new(&block.into())
    }
}

/// What a relay remembers of a session in its client's hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// Whose it is.
    pub peer: PeerId,
    /// Of which process.
    pub instance: Instance,
    /// The highest stamp that the peer had when it was made.
    pub stamp: Stamp,
    /// Who the peer may reach: the group of its token.
    pub group: String,
    /// The end of its access token, in seconds after the Unix epoch: the ticket ends with it.
    pub expires_unix: u64,
    /// Whether there was no token: the pool let anyone in then.
    pub open: bool,
    /// The pool's rules by which the peer was let in, as they are numbered: those of earlier rules are good no more.
    pub epoch: u32,
    /// How many bytes were let under way to the client at a time, when the ticket was made: the next relay need not find out anew.
    /// Zero if nothing was known of that.
    pub window: u32,
}

/// Bytes that are not a ticket of this pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not authenticated by any of the keys.
    #[error("the ticket was not made by this pool")]
    Forged,
    /// Authenticated, but of a form that we do not know.
    #[error("the ticket is of a form that this relay does not know")]
    Form(#[from] WireError),
    /// Its time is over.
    #[error("the ticket has expired")]
    Expired,
}

impl Ticket {
    /// The ticket for the client.
    #[must_use]
    pub fn seal(&self, key: &TicketKey) -> Bytes {
        let mut out = BytesMut::with_capacity(MAX_TICKET);
        out.put_u8(VERSION);
        out.put_slice(self.peer.as_bytes());
        out.put_slice(self.instance.as_bytes());
        out.put_u64(self.stamp.as_u64());
        out.put_u64(self.expires_unix);
        put_bytes(self.group.as_bytes(), &mut out);
        out.put_u8(u8::from(self.open));
        out.put_u32(self.epoch);
        out.put_u32(self.window);
        let tag = key.mac().chain_update(&out).finalize().into_bytes();
        out.put_slice(&tag);
        out.freeze()
    }

    /// Reads a ticket that was sealed with one of `keys` and has not ended by `now_unix` (seconds after the Unix epoch).
    pub fn open(bytes: &Bytes, keys: &[TicketKey], now_unix: u64) -> Result<Self, TicketError> {
        let fields = bytes
            .len()
            .checked_sub(TAG)
            .map(|length| bytes.slice(..length))
            .ok_or(TicketError::Forged)?;
        let tag = &bytes[fields.len()..];
        let genuine =
            keys.iter().any(|key| key.mac().chain_update(&fields).verify_slice(tag).is_ok());
        if !genuine {
            return Err(TicketError::Forged);
        }
        let ticket = Self::read(fields)?;
        if ticket.expires_unix <= now_unix { Err(TicketError::Expired) } else { Ok(ticket) }
    }

    fn read(fields: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        if reader.u8("version")? != VERSION {
            return Err(WireError::Value { field: "version" });
        }
        let ticket = Self {
            peer: PeerId::from_bytes(reader.array("peer")?),
            instance: Instance::from_bytes(reader.array("instance")?),
            stamp: Stamp::from_u64(reader.u64("stamp")?),
            expires_unix: reader.u64("expiry")?,
            group: reader.text("group", MAX_GROUP)?,
            open: match reader.u8("mode")? {
                0 => false,
                1 => true,
                _ => return Err(WireError::Value { field: "mode" }),
            },
            epoch: reader.u32("epoch")?,
            window: reader.u32("window")?,
        };
        reader.end()?;
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TicketKey = TicketKey::from_bytes([1; 32]);
    const OTHER: TicketKey = TicketKey::from_bytes([2; 32]);

    fn ticket() -> Ticket {
        Ticket {
            peer: PeerId::from_bytes([3; 32]),
            instance: Instance::from_bytes([4; 16]),
            stamp: Stamp::from_u64(5),
            group: "team".into(),
            expires_unix: 100,
            open: false,
            epoch: 6,
            window: 65_536,
        }
    }

    #[test]
    fn a_ticket_comes_back_under_any_of_the_pools_keys() {
        let sealed = ticket().seal(&KEY);
        assert_eq!(Ticket::open(&sealed, &[OTHER, KEY], 99), Ok(ticket()));
        let open = Ticket { open: true, ..ticket() };
        assert_eq!(Ticket::open(&open.seal(&KEY), &[KEY], 99), Ok(open));
        assert_eq!(Ticket::open(&sealed, &[OTHER], 99), Err(TicketError::Forged));
        assert_eq!(Ticket::open(&sealed, &[KEY], 100), Err(TicketError::Expired));
    }

    #[test]
    fn a_changed_ticket_is_forged_whichever_bit_was_changed() {
        let sealed = ticket().seal(&KEY);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Ticket::open(&changed.into(), &[KEY], 0),
                Err(TicketError::Forged),
                "bit {bit}"
            );
        }
        for length in 0..sealed.len() {
            assert_eq!(
                Ticket::open(&sealed.slice(..length), &[KEY], 0),
                Err(TicketError::Forged),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn the_longest_ticket_fits_its_frame() {
        let longest = Ticket { group: "g".repeat(MAX_GROUP), ..ticket() };
        assert!(longest.seal(&KEY).len() <= MAX_TICKET);
    }
}
