//! Who is who.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// An application endpoint: the 32 bytes of its Ed25519 public key.
///
/// Written as 52 letters of lower-case base32 (RFC 4648 section 6, no padding).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; Self::LENGTH]);

impl PeerId {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// The peer whose public key has these bytes. They need not be a valid point: a peer that signs nothing valid never gets in.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes of the public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The first half of the id, which stands for the sender in long-form datagrams.
    #[must_use]
    pub fn prefix(&self) -> PeerPrefix {
        let mut prefix = [0; PeerPrefix::LENGTH];
        prefix.copy_from_slice(&self.0[..PeerPrefix::LENGTH]);
        PeerPrefix(prefix)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for PeerId {
    /// The first letters: enough to tell peers apart in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        f.write_str(text.get(..8).unwrap_or(&text))
    }
}

/// A text that is no [`PeerId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no peer id: that is 52 letters a-z and digits 2-7, as `baton key new` prints it"
)]
pub struct InvalidPeerId {
    text: String,
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPeerId { text: text.chars().take(80).collect() };
        let bytes =
            BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| invalid())?;
        Ok(Self(bytes.try_into().map_err(|_| invalid())?))
    }
}

/// The first 16 bytes of a [`PeerId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerPrefix([u8; Self::LENGTH]);

impl PeerPrefix {
    /// Length in bytes.
    pub const LENGTH: usize = 16;

    /// The prefix with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The smallest peer id that starts with it, for range searches.
    #[must_use]
    pub fn first(&self) -> PeerId {
        let mut bytes = [0; PeerId::LENGTH];
        bytes[..Self::LENGTH].copy_from_slice(&self.0);
        PeerId(bytes)
    }
}

/// Random id of one client process. A handover or a resume must come from the same instance as the session before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instance([u8; Self::LENGTH]);

impl Instance {
    /// Length in bytes.
    pub const LENGTH: usize = 16;

    /// The instance with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// One relay: the first 32 bits of the SHA-256 of its pod's UID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(u32);

impl RelayId {
    /// The relay that runs in the pod with this UID (or under this name, outside Kubernetes).
    #[must_use]
    pub fn of_pod(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }

    /// The relay with this number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One session, as its relay numbers it: unique within one relay process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(u64);

impl SessionId {
    /// The session with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The order of a peer's attachments. A relay gives it in WELCOME; a client never chooses one.
///
/// A stamp is not below the Unix time in milliseconds at which it was given, and is above every stamp of that peer that its
/// giver knew of. So a relay that has forgotten a peer still gives a higher stamp than another gave before, as long as
/// clocks agree to within the time between two attachments; and where they do not, the ticket carries the last stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp with this value.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The next stamp of a peer whose highest known one is `known`, given at `unix_ms` milliseconds after the Unix epoch.
    #[must_use]
    pub fn next(known: Option<Self>, unix_ms: u64) -> Self {
        let above = known.map_or(0, |stamp| stamp.0.saturating_add(1));
        Self(above.max(unix_ms))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_is_52_letters_and_comes_back() {
        let peer = PeerId::from_bytes(std::array::from_fn(|i| i as u8));
        let text = peer.to_string();
        assert_eq!(text, "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        assert_eq!(text.parse(), Ok(peer));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(peer));
    }

    #[test]
    fn what_is_no_peer_id_is_refused_with_advice() {
        for text in ["", "aaaa", &"a".repeat(53), &"1".repeat(52), &"a".repeat(10_000)] {
            let error = text.parse::<PeerId>().unwrap_err().to_string();
            assert!(error.contains("baton key new"), "{error}");
            assert!(error.len() < 300, "the error repeats {} letters of input", error.len());
        }
    }

    #[test]
    fn a_stamp_is_above_what_is_known_and_not_below_the_clock() {
        assert_eq!(Stamp::next(None, 1000), Stamp::from_u64(1000));
        assert_eq!(Stamp::next(Some(Stamp::from_u64(5)), 1000), Stamp::from_u64(1000));
        assert_eq!(Stamp::next(Some(Stamp::from_u64(1000)), 1000), Stamp::from_u64(1001));
        assert_eq!(
            Stamp::next(Some(Stamp::from_u64(9000)), 1000),
            Stamp::from_u64(9001),
            "a clock that went back"
        );
    }

    #[test]
    fn a_prefix_finds_its_peer_in_an_ordered_map() {
        let peer = PeerId::from_bytes([7; 32]);
        assert!(peer.prefix().first() <= peer);
        assert_eq!(peer.prefix().first().prefix(), peer.prefix());
    }
}
