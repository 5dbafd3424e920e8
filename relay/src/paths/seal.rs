//! What a probe id is made of: the mark of all ids, and 16 bytes under AES-128.
//!
//! ```text
//! session 8, relay 4, generation 2, number 1, purpose 1
//! ```
//!
//! So an id says to whom it was given without anything kept for it; nobody can make one up, because nearly no 16 bytes decrypt to
//! the right relay and purpose; and two ids of one session have nothing in common that anyone could see. One block under one key,
//! each id once: that is what AES by itself is good for.

use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use baton_protocol::frame::RouteId;
use baton_protocol::id::{RelayId, SessionId};
use baton_protocol::path::probe::MARK;

/// What an id of this form is for. Other purposes get other numbers.
const PROBE: u8 = 1;

/// To whom an id was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeId {
    /// Whose.
    pub session: SessionId,
    /// Of the ids of that session.
    pub generation: u16,
    /// Among those of its generation.
    pub number: u8,
}

/// Makes ids, and reads them: those of this process.
#[derive(Debug)]
pub struct ProbeKey {
    me: RelayId,
    seal: EncryptingKey,
    open: DecryptingKey,
}

impl ProbeKey {
    /// With these secret bytes, for this relay.
    ///
    /// # Panics
    /// Never: AES-128 takes any 16 bytes, and knows this mode.
    #[expect(clippy::expect_used, reason = "any 16 bytes are a key; every test would fail")]
    #[must_use]
    pub fn new(me: RelayId, secret: [u8; 16]) -> Self {
        let key = || UnboundCipherKey::new(&AES_128, &secret).expect("16 bytes are a key");
        let seal = EncryptingKey::ecb(key()).expect("AES-128 has this mode");
        let open = DecryptingKey::ecb(key()).expect("AES-128 has this mode");
        Self { me, seal, open }
    }

    /// The id, for a client.
    #[must_use]
    pub fn seal(&self, id: ProbeId) -> RouteId {
        let mut sealed = [MARK; 17];
        sealed[1..9].copy_from_slice(&id.session.as_u64().to_be_bytes());
        sealed[9..13].copy_from_slice(&self.me.as_u32().to_be_bytes());
        sealed[13..15].copy_from_slice(&id.generation.to_be_bytes());
        (sealed[15], sealed[16]) = (id.number, PROBE);
        // It fails for lengths that are no multiple of a block. An id that is not sealed would be one that nobody answers.
        if self.seal.encrypt(&mut sealed[1..]).is_err() {
            sealed[1..].fill(0);
        }
        sealed
    }

    /// To whom this id was given; `None` if this relay never gave it.
    #[must_use]
    pub fn open(&self, mut sealed: RouteId) -> Option<ProbeId> {
        self.open.decrypt(&mut sealed[1..], DecryptionContext::None).ok()?;
        let relay = u32::from_be_bytes(*sealed[9..].first_chunk()?);
        let ours = sealed[0] == MARK && sealed[16] == PROBE && relay == self.me.as_u32();
        Some(ProbeId {
            session: SessionId::from_u64(u64::from_be_bytes(*sealed[1..].first_chunk()?)),
            generation: u16::from_be_bytes(*sealed[13..].first_chunk()?),
            number: sealed[15],
        })
        .filter(|_| ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(relay: u32) -> ProbeKey {
        ProbeKey::new(RelayId::from_u32(relay), [7; 16])
    }

    fn id(session: u64, generation: u16, number: u8) -> ProbeId {
        ProbeId { session: SessionId::from_u64(session), generation, number }
    }

    #[test]
    fn an_id_is_read_by_whoever_made_it() {
        for id in [id(0, 0, 0), id(u64::MAX, u16::MAX, 255), id(7, 1, 3)] {
            assert_eq!(key(1).open(key(1).seal(id)), Some(id));
        }
    }

    #[test]
    fn nobody_elses_id_is_read_nor_one_that_was_changed() {
        let sealed = key(1).seal(id(7, 1, 3));
        assert_eq!(key(2).open(sealed), None, "another relay's");
        assert_eq!(
            ProbeKey::new(RelayId::from_u32(1), [8; 16]).open(sealed),
            None,
            "another key's"
        );
        for position in 0..sealed.len() {
            let mut changed = sealed;
            changed[position] ^= 1;
            assert_eq!(key(1).open(changed), None);
        }
    }

    #[test]
    fn ids_of_one_session_have_nothing_in_common_but_the_mark() {
        let sealed: Vec<_> = (0..16).map(|number| key(1).seal(id(7, 1, number))).collect();
        for (n, one) in sealed.iter().enumerate() {
            for other in &sealed[n + 1..] {
                let same = one.iter().zip(other).skip(1).filter(|(one, other)| one == other);
                assert!(same.count() < 5);
            }
        }
    }
}
