//! The kernel tells of changes in folders, so that nobody has to look ten times a second.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tracing::debug;

/// What a file that is whole comes by: kubelet renames, others close what they have written. One that is being written is not looked at.
const WHOLE: WatchFlags = WatchFlags::MOVED_TO.union(WatchFlags::CLOSE_WRITE);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Changes {
    /// None where the kernel gives no more of these (`fs.inotify.max_user_instances`).
    told: Option<OwnedFd>,
    bell: Bell,
}

/// Ends a wait.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Changes {
    pub(super) fn new() -> io::Result<Self> {
        let told = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let told =
            told.inspect_err(|error| debug!(%error, "files are looked at by the clock")).ok();
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { told, bell: Bell(Arc::new(bell)) })
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// From now on it is told what happens in the folders of these files. Gives whether it is, of all of them. A folder may be made, or
    /// be another one, at any time: so this is asked before each look.
    pub(super) fn watch<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> bool {
        let Some(told) = &self.told else { return false };
        files.into_iter().all(|file| {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            inotify::add_watch(told, folder, WHOLE | WatchFlags::ONLYDIR).is_ok()
        })
    }

    /// Waits until something has changed, the bell rings, or so much time is over. Gives whether the bell was rung.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let bell = PollFd::new(&*self.bell.0, PollFlags::IN);
        let told = self.told.as_ref().map(|told| PollFd::new(told, PollFlags::IN));
        let mut both: Vec<_> = [Some(bell), told].into_iter().flatten().collect();
        let at_most = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // An interruption is a reason to look, like any other.
        let _ = poll(&mut both, Some(&at_most));
        self.told.iter().for_each(drain);
        both[0].revents().contains(PollFlags::IN)
    }
}

impl Bell {
    /// Ends the wait that is on, and each that follows.
    pub(super) fn ring(&self) {
        // It can only be refused when it was rung as often as there are numbers.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// What was told does not matter: all files are looked at.
fn drain(told: &impl AsFd) {
    let mut events = [0; 4096];
    while let Ok(1..) | Err(Errno::INTR) = rustix::io::read(told, &mut events) {}
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Nothing here takes as long.
    const LONG: Duration = Duration::from_secs(60);

    fn is_told(changes: &Changes, at_most: Duration) -> bool {
        let since = Instant::now();
        assert!(!changes.wait(at_most), "nobody rings");
        since.elapsed() < at_most
    }

    #[test]
    fn whole_files_are_told_of_and_half_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let changes = Changes::new().unwrap();
        assert!(changes.watch([&*at("one"), &*at("other")]));
        let half = std::fs::File::create(at("one")).unwrap();
        io::Write::write_all(&mut &half, b"half").unwrap();
        assert!(!is_told(&changes, Duration::from_millis(20)));
        drop(half);
        assert!(is_told(&changes, LONG));
        std::fs::rename(at("one"), at("other")).unwrap();
        assert!(is_told(&changes, LONG));
        // As kubelet does it: the folder behind a link is another one.
        std::fs::create_dir_all(at("..2")).unwrap();
        std::os::unix::fs::symlink("..2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(is_told(&changes, LONG));
        assert!(!is_told(&changes, Duration::from_millis(20)), "each once");
    }

    #[test]
    fn a_folder_that_is_not_there_is_looked_at_by_the_clock_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("late").join("file");
        let changes = Changes::new().unwrap();
        assert!(!changes.watch([&*file]));
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        assert!(changes.watch([&*file]));
        // And when it is another one.
        std::fs::remove_dir(file.parent().unwrap()).unwrap();
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        assert!(changes.watch([&*file]));
        changes.wait(Duration::ZERO);
        std::fs::write(&file, "content").unwrap();
        assert!(is_told(&changes, LONG));
    }

    #[test]
    fn a_bell_that_was_rung_ends_every_wait() {
        let changes = Changes { told: None, ..Changes::new().unwrap() };
        assert!(!changes.watch([Path::new("/")]));
        assert!(!is_told(&changes, Duration::from_millis(20)));
        let bell = changes.bell();
        let ringing = std::thread::spawn(move || bell.ring());
        let since = Instant::now();
        assert!([LONG, LONG].iter().all(|long| changes.wait(*long)));
        assert!(since.elapsed() < LONG);
        ringing.join().unwrap();
    }
}
