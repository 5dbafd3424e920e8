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
    /// Whoever reaches us: the peers of our group, and those of others whom our [policy](crate::Client::set_policy) lets in.
    Any,
    /// The peers of our group. Who is of it is the pool's word; where peers of one group do not trust each other, name them.
    #[default]
    Group,
    /// These peers.
    Peers(BTreeSet<PeerId>),
    /// The peers of our group, and these, of whatever group they are.
    GroupAndPeers(BTreeSet<PeerId>),
}

impl Allow {
    /// Whether this peer may; a stranger is of another group.
    #[must_use]
    pub fn admits(&self, peer: &PeerId, stranger: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Group => !stranger,
            Self::Peers(peers) => peers.contains(peer),
            Self::GroupAndPeers(peers) => !stranger || peers.contains(peer),
        }
    }

    /// The peers that it names.
    pub fn named(&self) -> impl Iterator<Item = PeerId> {
        let named = match self {
            Self::Peers(peers) | Self::GroupAndPeers(peers) => Some(peers),
            Self::Any | Self::Group => None,
        };
        named.into_iter().flatten().copied()
    }

    /// This and that: what a list of `--allow` means.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Group, Self::Group) => Self::Group,
            (Self::Peers(one), Self::Peers(other)) => Self::Peers(&one | &other),
            (one, other) => Self::GroupAndPeers(one.named().chain(other.named()).collect()),
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
        for stranger in [false, true] {
            let admits = |peer| allow.admits(peer, stranger);
            assert!(admits(&one) && admits(&two) && !admits(&three));
        }
        let allow = allow.or(Allow::Group);
        assert!(allow.admits(&three, false) && !allow.admits(&three, true));
        assert!(allow.admits(&one, true), "who is named beside the group may be of another");
        assert_eq!(allow.clone().or(Allow::Group), allow);
        assert_eq!(Allow::Group.or(Allow::Group), Allow::Group);
        assert_eq!(allow.or(Allow::Any), Allow::Any);
        assert!(Allow::Any.admits(&three, true));
        assert_eq!("any".parse(), Ok(Allow::Any));
        assert!("nobody".parse::<Allow>().is_err());
    }
}
