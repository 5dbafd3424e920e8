//! The pool's keys. Every relay of a pool derives the same ones from the pool Secret (HKDF-SHA-256, RFC 5869).

use std::io;
use std::path::{Path, PathBuf};

use baton_protocol::ticket::TicketKey;
use hkdf::Hkdf;
use sha2::Sha256;

/// Length of a pool secret in bytes.
pub const SECRET_LENGTH: usize = 32;

/// The secret that the relays of a pool share.
#[derive(Clone)]
pub struct PoolSecret([u8; SECRET_LENGTH]);

impl std::fmt::Debug for PoolSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolSecret")
    }
}

impl PoolSecret {
    /// The secret with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SECRET_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The key that authenticates session tickets.
    #[must_use]
    pub fn ticket_key(&self) -> TicketKey {
        TicketKey::from_bytes(self.derive(b"baton/1 ticket"))
    }

    /// The Ed25519 seed by which the relays of a pool know each other.
    #[must_use]
    pub(crate) fn mesh_seed(&self) -> [u8; 32] {
        self.derive(b"baton/1 mesh identity")
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let mut key = [0; 32];
        // HKDF fails only for more than 255 hashes of output; this is one.
        let expanded = Hkdf::<Sha256>::new(None, &self.0).expand(purpose, &mut key);
        debug_assert!(expanded.is_ok());
        key
    }
}

/// The secrets of a pool: the one in use, and those that are accepted beside it while they are exchanged.
#[derive(Clone, Debug)]
pub struct PoolKeys {
    /// Signs.
    pub current: PoolSecret,
    /// Are accepted too.
    pub others: Vec<PoolSecret>,
}

impl PoolKeys {
    /// Keys of a pool that has one secret.
    #[must_use]
    pub const fn one(current: PoolSecret) -> Self {
        Self { current, others: Vec::new() }
    }

    /// Reads the mounted pool Secret: `current`, and `next` and `previous` if they are there. The error is every one that
    /// cannot be used.
    pub fn read(folder: &Path) -> Result<Self, Vec<KeyError>> {
        let current = read(&folder.join("current"));
        let others = ["next", "previous"].map(|name| folder.join(name));
        let others = others.iter().filter(|path| path.exists()).map(|path| read(path));
        let (others, wrong): (Vec<_>, Vec<_>) = others.partition(Result::is_ok);
        let mut wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
        match current {
            Ok(current) if wrong.is_empty() => {
                Ok(Self { current, others: others.into_iter().flatten().collect() })
            }
            Ok(_) => Err(wrong),
            Err(error) => {
                wrong.insert(0, error);
                Err(wrong)
            }
        }
    }

    /// The ticket keys, the one in use first.
    #[must_use]
    pub fn ticket_keys(&self) -> Vec<TicketKey> {
        std::iter::once(&self.current).chain(&self.others).map(PoolSecret::ticket_key).collect()
    }
}

/// A pool Secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("the pool secret {} cannot be read: mount the Secret <pool>-pool there", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not 32 bytes long.
    #[error("the pool secret {} has {length} bytes, and must have {SECRET_LENGTH}: make one with `head -c 32 /dev/urandom`", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// What it has.
        length: usize,
    },
}

fn read(path: &Path) -> Result<PoolSecret, KeyError> {
    let bytes =
        std::fs::read(path).map_err(|source| KeyError::Read { path: path.into(), source })?;
    let length = bytes.len();
    let bytes = bytes.try_into().map_err(|_| KeyError::Length { path: path.into(), length })?;
    Ok(PoolSecret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_purpose_and_by_secret() {
        let one = PoolSecret::from_bytes([1; 32]);
        let other = PoolSecret::from_bytes([2; 32]);
        assert_ne!(one.derive(b"a"), one.derive(b"b"));
        assert_ne!(one.mesh_seed(), other.mesh_seed());
        assert_eq!(one.mesh_seed(), PoolSecret::from_bytes([1; 32]).mesh_seed());
    }

    #[test]
    fn a_folder_with_one_or_three_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let missing = PoolKeys::read(folder.path()).unwrap_err()[0].to_string();
        assert!(missing.contains("current"), "{missing}");
        std::fs::write(folder.path().join("current"), [1; 32]).unwrap();
        assert_eq!(PoolKeys::read(folder.path()).unwrap().ticket_keys().len(), 1);
        std::fs::write(folder.path().join("previous"), [2; 32]).unwrap();
        assert_eq!(PoolKeys::read(folder.path()).unwrap().ticket_keys().len(), 2);
        std::fs::write(folder.path().join("next"), [2; 31]).unwrap();
        let short = PoolKeys::read(folder.path()).unwrap_err()[0].to_string();
        assert!(short.contains("has 31 bytes, and must have 32"), "{short}");
    }
}
