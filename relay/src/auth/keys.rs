//! The mounted keys of access tokens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use baton_protocol::token::{Claims, KeyError, TokenFault, TokenKey, verify};

/// What access tokens are verified with: several keys at once, so that they can be exchanged.
#[derive(Clone, Debug)]
pub struct TokenKeys(Vec<TokenKey>);

/// Keys of access tokens that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The folder or a file in it cannot be read.
    #[error("the access token keys in {} cannot be read: mount the Secret <pool>-auth there", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are none.
    #[error("there is no access token secret in {}: mount the Secret <pool>-auth there", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// One cannot be used.
    #[error("the access token key {} cannot be used: {fault}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: KeyError,
    },
}

impl TokenKeys {
    /// These secrets.
    #[must_use]
    pub fn from_secrets(secrets: &[&[u8]]) -> Self {
        Self(secrets.iter().map(|secret| TokenKey::secret(secret)).collect())
    }

    /// These keys.
    #[must_use]
    pub const fn new(keys: Vec<TokenKey>) -> Self {
        Self(keys)
    }

    /// Reads the mounted auth Secret: each file is one secret, or holds public keys, as its name says
    /// ([`TokenKey::read`]). The error is every one that cannot be used.
    pub fn read(folder: &Path) -> Result<Self, Vec<TokenKeyError>> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TokenKeyError::Read { path, source }
        };
        let (mut keys, mut wrong) = (Vec::new(), Vec::new());
        let entries = std::fs::read_dir(folder).map_err(|source| vec![failed(folder)(source)])?;
        // Kubernetes' own entries of a mounted Secret begin with two dots.
        let names: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        for name in names.iter().filter(|name| !name.to_string_lossy().starts_with('.')) {
            let path = folder.join(name);
            match std::fs::read(&path).map_err(failed(&path)) {
                Ok(content) => match TokenKey::read(&name.to_string_lossy(), &content) {
                    Ok(read) => keys.extend(read),
                    Err(fault) => wrong.push(TokenKeyError::Key { path, fault }),
                },
                Err(error) => wrong.push(error),
            }
        }
        if keys.is_empty() && wrong.is_empty() {
            wrong.push(TokenKeyError::None { path: folder.into() });
        }
        if wrong.is_empty() { Ok(Self(keys)) } else { Err(wrong) }
    }

    /// Whether one of them made the token, and what that says.
    pub(super) fn verify(&self, token: &[u8]) -> Result<Claims, TokenFault> {
        verify(token, &self.0)
    }
}
