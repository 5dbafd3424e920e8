//! When the files of the configuration are read again. They are looked at every few seconds, because a mounted Secret changes
//! by a link to another folder, of which nobody tells; and at SIGHUP.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(2);

/// What files held at one moment, without their content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these files, and of the files in these folders. What cannot be read differs from all that can.
    #[must_use]
    pub fn of(paths: &[PathBuf]) -> Self {
        let mut hash = Sha256::new();
        paths.iter().for_each(|path| add(&mut hash, path));
        Self(hash.finalize().into())
    }
}

fn add(hash: &mut Sha256, path: &Path) {
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(path.as_os_str().as_encoded_bytes());
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        part(&(names.len() as u64).to_be_bytes());
        // Kubernetes' own entries begin with two dots, and are followed by those beside them.
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        for name in names {
            let file = path.join(name);
            if !file.is_dir() {
                add(hash, &file);
            }
        }
    } else {
        match std::fs::read(path) {
            Ok(content) => part(&content),
            Err(error) => part(format!("{:?}", error.kind()).as_bytes()),
        }
    }
}

/// Decides when to read, and whether what was read counts. It is told the time.
#[derive(Debug)]
pub struct Watch {
    /// Of what was read last, whether it could be used or not.
    read: Fingerprint,
    look_at: Instant,
}

impl Watch {
    /// What is used was read when the files were like this.
    #[must_use]
    pub fn new(read: Fingerprint, now: Instant) -> Self {
        Self { read, look_at: now + LOOK }
    }

    /// When to look at the files next.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.look_at
    }

    /// The files were looked at and are like this. Whether to read them: if they changed, or because someone asks.
    pub fn looked(&mut self, files: Fingerprint, asked: bool, now: Instant) -> bool {
        self.look_at = now + LOOK;
        asked || files != self.read
    }

    /// They were read, and were like this before and like that after. Whether what was read counts: if not, they were changing,
    /// and it may be half of one state and half of another; they are looked at again.
    pub fn has_read(&mut self, before: Fingerprint, after: Fingerprint) -> bool {
        if before == after {
            self.read = after;
        }
        before == after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Fingerprint = Fingerprint([1; 32]);
    const NEW: Fingerprint = Fingerprint([2; 32]);

    #[test]
    fn files_are_read_once_for_each_change_and_whenever_someone_asks() {
        let start = Instant::now();
        let mut watch = Watch::new(OLD, start);
        assert_eq!(watch.poll_timeout(), start + LOOK);
        let now = start + LOOK;
        assert!(!watch.looked(OLD, false, now));
        assert_eq!(watch.poll_timeout(), now + LOOK);
        assert!(watch.looked(NEW, false, now));
        assert!(watch.has_read(NEW, NEW));
        assert!(!watch.looked(NEW, false, now), "good or bad, it was read");
        assert!(watch.looked(NEW, true, now), "asked by SIGHUP");
        assert!(watch.looked(OLD, false, now), "and back");
    }

    #[test]
    fn what_changed_while_it_was_read_does_not_count_and_is_read_again() {
        let now = Instant::now();
        let mut watch = Watch::new(OLD, now);
        assert!(watch.looked(NEW, false, now));
        assert!(!watch.has_read(OLD, NEW));
        assert!(watch.looked(NEW, false, now));
    }

    #[test]
    fn a_fingerprint_changes_with_names_contents_and_what_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = [at("mounted"), at("file")];
        let mut seen = vec![Fingerprint::of(&paths)];
        let mut differs = |what: &str| {
            let now = Fingerprint::of(&paths);
            assert_eq!(now, Fingerprint::of(&paths), "{what}, and nothing else");
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        // As kubelet mounts a Secret: the names are links into `..data`, which is a link itself.
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir_all(at("mounted").join(version)).unwrap();
            std::fs::write(at("mounted").join(version).join("key"), content).unwrap();
        }
        differs("a folder");
        std::os::unix::fs::symlink("..1", at("mounted/..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", at("mounted/key")).unwrap();
        differs("a key");
        std::os::unix::fs::symlink("..2", at("mounted/..next")).unwrap();
        differs("an entry of Kubernetes' own");
        std::fs::rename(at("mounted/..next"), at("mounted/..data")).unwrap();
        differs("the same name, and another content behind its link");
        std::fs::write(at("file"), "").unwrap();
        differs("an empty file where there was none");
        std::fs::write(at("file"), "x").unwrap();
        differs("its content");
        std::fs::rename(at("mounted/key"), at("mounted/other")).unwrap();
        differs("its name");
    }
}
