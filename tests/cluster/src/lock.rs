//! One cluster at a time: the state folder is the lock.
//!
//! The folder itself is locked (`flock`), not a file in it, so that nothing is left behind when it is
//! removed. A lock on a folder that has been removed meanwhile is worth nothing, hence the second look
//! at the inode.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    path: PathBuf,
    _folder: File,
}

impl StateLock {
    /// Takes the lock on `path`, making the folder where there is none. `None`: somebody else has it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let folder = match File::open(path) {
                // Removed since: make it again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            let current = fs::metadata(path).map(|now| now.ino()).ok();
            if current == Some(folder.metadata()?.ino()) {
                return Ok(Some(Self { path: path.to_owned(), _folder: folder }));
            }
        }
    }

    /// Does somebody hold the lock on `path`? Looking takes it for a moment, with others who look.
    pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
        let folder = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match flock(&folder, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            locked => Ok(locked.map(|()| false)?),
        }
    }

    /// Removes the folder and what is in it; the lock ends with it.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        assert!(!StateLock::is_held(&path).unwrap() && !path.exists());
        let first = StateLock::take(&path).unwrap().unwrap();
        assert!(StateLock::take(&path).unwrap().is_none());
        assert!(StateLock::is_held(&path).unwrap());
        drop(first);
        assert!(!StateLock::is_held(&path).unwrap());
        assert!(StateLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn removing_the_folder_ends_the_lock_and_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let first = StateLock::take(&path).unwrap().unwrap();
        fs::write(path.join("file"), "x").unwrap();
        first.remove().unwrap();
        assert!(!path.exists());
        assert!(StateLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn many_takers_and_removers_never_hold_it_together() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let held = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Some(lock) = StateLock::take(&path).unwrap() else { continue };
                        assert_eq!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        lock.remove().unwrap();
                    }
                });
            }
        });
    }
}
