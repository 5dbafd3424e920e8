//! Who this process is: a key, the file that it is kept in, and the promise that no other process uses it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_protocol::hello::peer_of;
use baton_protocol::id::PeerId;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use rustix::fs::FlockOperation;

/// What the secret in a key file begins with, so that nobody takes it for a peer id, which has as many letters.
const PREFIX: &str = "baton-key-1:";

/// A key file is a few lines: what is longer is another file.
const MAX_FILE: u64 = 4096;

/// A peer's key. While it lives, no other process can load the same key file.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    /// Keeps the lock: the kernel gives it back when the last copy of the descriptor is closed, however the process ends.
    _lock: Option<Arc<File>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.peer()).finish()
    }
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no such file.
    #[error("there is no key file {}: make one with `baton key new --out {}`", path.display(), path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is there and may not be overwritten: whoever was reached by that key would be gone.
    #[error("{} exists and is not overwritten: remove it if its key is needed no more", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the key file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the key file {} cannot be written: {source}; choose another with --out", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is no key file: it has no line that begins with `{PREFIX}`, as `baton key new` writes it", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it, so they can be this peer.
    #[error("the key file {} can be read by everyone on this machine (mode {mode:03o}): `chmod 600` it; for a mounted Secret, set `defaultMode: 0440`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another process is this peer now.
    #[error("the key {} is in use by process {}: a peer lives once; stop that process, or make another key with `baton key new`", path.display(), owner(*pid))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The other process, if it left its number.
        pid: Option<u32>,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
}

impl Identity {
    /// A key of this process alone, which ends with it.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self { key: SigningKey::from_bytes(&rand::random()), _lock: None }
    }

    /// The identity with this key, which the caller keeps from being used twice.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(&seed), _lock: None }
    }

    /// Makes a key and a file for it, which only its owner can read. The file appears whole or not at all, and never in
    /// place of another.
    pub fn create(path: &Path) -> Result<PeerId, IdentityError> {
        let identity = Self::ephemeral();
        let failed = |source| IdentityError::Write { path: path.into(), source };
        let unfinished = beside(path, &format!(".new-{}", std::process::id()));
        let written = identity.write(&unfinished);
        // A hard link, unlike a rename, fails if there is a file of that name.
        let linked = written.and_then(|()| std::fs::hard_link(&unfinished, path));
        let _ = std::fs::remove_file(&unfinished);
        match linked {
            Ok(()) => Ok(identity.peer()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(IdentityError::Exists { path: path.into() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Loads a key file for this process alone.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file = open(path)?;
        let key = read(path)?;
        let metadata =
            file.metadata().map_err(|source| IdentityError::Read { path: path.into(), source })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(IdentityError::Exposed { path: path.into(), mode });
        }
        // The key file itself is what is locked: that works on a read-only file system too, such as a mounted Secret.
        let pid_path = beside(path, ".pid");
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid =
                std::fs::read_to_string(&pid_path).ok().and_then(|text| text.trim().parse().ok());
            return Err(IdentityError::InUse { path: path.into(), pid });
        }
        // For people only, so it is no error if it cannot be written.
        let _ = std::fs::write(&pid_path, format!("{}\n", std::process::id()));
        Ok(Self { key, _lock: Some(Arc::new(file)) })
    }

    /// Whose key is in a file. The file may be in use.
    pub fn show(path: &Path) -> Result<PeerId, IdentityError> {
        Ok(peer_of(&read(path)?))
    }

    /// The peer that holds this key.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        peer_of(&self.key)
    }

    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let secret = BASE32_NOPAD.encode(self.key.as_bytes()).to_ascii_lowercase();
        write!(file, "# The secret key of peer {}\n{PREFIX}{secret}\n", self.peer())?;
        file.sync_all()
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn open(path: &Path) -> Result<File, IdentityError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { path: path.into() },
        _ => IdentityError::Read { path: path.into(), source },
    })
}

fn read(path: &Path) -> Result<SigningKey, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.into(), source };
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(open(path)?, MAX_FILE), &mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    let secret = text.lines().find_map(|line| line.trim().strip_prefix(PREFIX));
    let bytes =
        secret.and_then(|secret| BASE32_NOPAD.decode(secret.to_ascii_uppercase().as_bytes()).ok());
    let seed: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    seed.map(|seed| SigningKey::from_bytes(&seed))
        .ok_or_else(|| IdentityError::Form { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_its_owners_alone_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let peer = Identity::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::show(&path).unwrap(), peer);
        assert_eq!(Identity::load(&path).unwrap().peer(), peer);
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(
            names.len(),
            2,
            "the key and the process number, and nothing half done: {names:?}"
        );
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let peer = Identity::create(&path).unwrap();
        assert!(matches!(Identity::create(&path), Err(IdentityError::Exists { .. })));
        assert_eq!(Identity::show(&path).unwrap(), peer);
    }

    #[test]
    fn a_key_in_use_is_refused_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Identity::create(&path).unwrap();
        let first = Identity::load(&path).unwrap();
        // Locks of flock belong to the open file, so the same process is as good as another one here.
        let error = Identity::load(&path).unwrap_err();
        assert!(
            matches!(error, IdentityError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Identity::load(&path).unwrap();
    }

    #[test]
    fn a_key_that_everyone_can_read_is_refused_and_one_of_a_group_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Identity::create(&path).unwrap();
        let set =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o644, 0o604, 0o602] {
            set(mode);
            let error = Identity::load(&path).unwrap_err();
            assert!(
                matches!(error, IdentityError::Exposed { mode: said, .. } if said == mode),
                "{error}"
            );
        }
        set(0o440);
        Identity::load(&path).unwrap();
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = Identity::load(&path).unwrap_err().to_string();
        assert!(error.contains("baton key new"), "{error}");
        for text in ["", "baton-key-1:", "baton-key-1:aaaa", "nonsense", &"x".repeat(100_000)] {
            std::fs::write(&path, text).unwrap();
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Form { .. }), "{error}");
        }
    }
}
