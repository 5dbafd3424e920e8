//! Services: what a peer offers to others, and to whom.

use std::collections::BTreeSet;
use std::str::FromStr;

use baton_protocol::id::PeerId;

/// The longest name of a service, in bytes.
pub const MAX_NAME: usize = 64;

/// The name of a service: 1 to 64 letters, digits, dots, dashes and underscores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceName(String);

impl ServiceName {
    /// A name of our own, which is one.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`ServiceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no name of a service: that is 1 to {MAX_NAME} letters, digits, '.', '-' and '_'"
)]
pub struct InvalidServiceName {
    text: String,
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(letter) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidServiceName { text: text.chars().take(80).collect() })
        }
    }
}

/// Who may use a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Allow {
    /// Whoever the pool lets reach us.
    Any,
    /// The peers of our group. Relays carry nothing between groups, so the pool's word is what this rests on; where peers of
    /// one group do not trust each other, name them.
    #[default]
    Group,
    /// These peers.
    Peers(BTreeSet<PeerId>),
}

impl Allow {
    /// Whether this peer may.
    #[must_use]
    pub fn admits(&self, peer: &PeerId) -> bool {
        match self {
            Self::Any | Self::Group => true,
            Self::Peers(peers) => peers.contains(peer),
        }
    }

    /// This and that: what a list of `--allow` means.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Group, _) | (_, Self::Group) => Self::Group,
            (Self::Peers(mut peers), Self::Peers(others)) => {
                peers.extend(others);
                Self::Peers(peers)
            }
        }
    }
}

/// A text that is no [`Allow`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is neither `any` nor `group` nor a peer's id, which is 52 letters a-z and digits 2-7, as `baton key new` prints it"
)]
pub struct InvalidAllow {
    text: String,
}

impl FromStr for Allow {
    type Err = InvalidAllow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(Self::Any),
            "group" => Ok(Self::Group),
            peer => {
                let peer = peer
                    .parse()
                    .map_err(|_| InvalidAllow { text: peer.chars().take(80).collect() })?;
                Ok(Self::Peers(BTreeSet::from([peer])))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "web.http-2_x", &"n".repeat(64)] {
            assert_eq!(name.parse::<ServiceName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "a/b", "ä", &"n".repeat(65)] {
            assert!(name.parse::<ServiceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_list_of_peers_admits_them_and_nobody_else() {
        let [one, two, three] = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
        let allow = one.to_string().parse::<Allow>().unwrap().or(two.to_string().parse().unwrap());
        assert!(allow.admits(&one) && allow.admits(&two) && !allow.admits(&three));
        assert!(allow.or(Allow::Group).admits(&three));
        assert_eq!("any".parse(), Ok(Allow::Any));
        assert!("nobody".parse::<Allow>().is_err());
    }
}
