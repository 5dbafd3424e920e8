//! The peers of a pool that lets in whom it knows by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use baton_protocol::id::PeerId;
use baton_protocol::ticket::MAX_GROUP;

/// The most that is read of the file: a million peers with short groups.
pub(crate) const MAX_FILE: usize = 64 * 1024 * 1024;

/// Who may attach, each with its group. One line for each: a peer id and, if it is not the empty one, its group. `#` begins a
/// comment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Allowlist(BTreeMap<PeerId, String>);

impl std::fmt::Debug for Allowlist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} allowed peers", self.0.len())
    }
}

/// A line, or a file, that is no allowlist.
#[derive(Debug, thiserror::Error)]
pub enum AllowlistError {
    /// It cannot be read.
    #[error("the allowlist {} cannot be read: mount a file with a peer id on each line there", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is far too long.
    #[error("the allowlist {} has more than {MAX_FILE} bytes", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// A line of it.
    #[error("line {number} of the allowlist {} {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Allowlist {
    /// Reads the file. The error is every line that is wrong.
    pub fn read(path: &Path) -> Result<Self, Vec<AllowlistError>> {
        let path_of = || path.to_path_buf();
        let content = std::fs::read(path)
            .map_err(|source| vec![AllowlistError::Read { path: path_of(), source }])?;
        if content.len() > MAX_FILE {
            return Err(vec![AllowlistError::Long { path: path_of() }]);
        }
        Self::parse(&String::from_utf8_lossy(&content)).map_err(|wrong| {
            let of = |(number, problem)| AllowlistError::Line { path: path_of(), number, problem };
            wrong.into_iter().map(of).collect()
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<(usize, &'static str)>> {
        let (mut peers, mut wrong) = (BTreeMap::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(peer) = words.next() else { continue };
            let group = words.next().unwrap_or_default();
            let problem = match peer.parse::<PeerId>() {
                Err(_) => Some("does not begin with a peer id, as `baton key show` prints it"),
                Ok(_) if words.next().is_some() => Some("has more than a peer id and a group"),
                Ok(_) if group.len() > MAX_GROUP => Some("has a group of more than 128 bytes"),
                Ok(peer) => peers
                    .insert(peer, group.to_owned())
                    .map(|_| "names a peer that an earlier line names"),
            };
            wrong.extend(problem.map(|problem| (index + 1, problem)));
        }
        if wrong.is_empty() { Ok(Self(peers)) } else { Err(wrong) }
    }

    /// The group of a peer that may attach.
    #[must_use]
    pub fn group_of(&self, peer: &PeerId) -> Option<&str> {
        self.0.get(peer).map(String::as_str)
    }
}

impl FromIterator<(PeerId, String)> for Allowlist {
    fn from_iter<I: IntoIterator<Item = (PeerId, String)>>(peers: I) -> Self {
        Self(peers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_peer_and_its_group() {
        let [one, other] = [1, 2].map(|byte| PeerId::from_bytes([byte; 32]));
        let text = format!("# ours\n\n{one} team # Alice\n  {other}\r\n");
        let list = Allowlist::parse(&text).unwrap();
        assert_eq!(list.group_of(&one), Some("team"));
        assert_eq!(list.group_of(&other), Some(""));
        assert_eq!(list.group_of(&PeerId::from_bytes([3; 32])), None);
        assert_eq!(Allowlist::parse(""), Ok(Allowlist::default()), "nobody");
    }

    #[test]
    fn every_line_that_is_wrong_is_named() {
        let peer = PeerId::from_bytes([1; 32]);
        let long = "g".repeat(129);
        let text = format!("alice\n{peer} a b\n{peer} {long}\n{peer}\n{peer} x\n");
        let wrong = Allowlist::parse(&text).unwrap_err();
        assert_eq!(
            wrong.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [1, 2, 3, 5],
            "{wrong:?}"
        );
    }
}
