//! Files that others write and this process follows: the pod's annotations.
//!
//! They are read by a thread of their own, when the kernel [tells](changes) of a change. A runtime would hand each look to one of its
//! helpers and be woken by it; a thread that sleeps wakes nobody but itself, and tells the others only what is new.

mod changes;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use self::changes::{Bell, Changes};

/// How often the files are read where the kernel tells of no changes.
const LOOK: Duration = Duration::from_millis(100);

/// How often they are read where it does: it says nothing of a link whose end has changed, nor does every file system.
const SELDOM: Duration = Duration::from_secs(2);

/// From one look to the next at least, whatever happens in those folders.
const PAUSE: Duration = Duration::from_millis(5);

/// How much of a file is read: more than the longest that is good, so that a longer one is told from it.
const MAX_FILE: u64 = 1024 * 1024;

/// The thread that reads. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    thread: Option<JoinHandle<()>>,
    bell: Bell,
}

/// What is in one file.
#[derive(Debug)]
pub(crate) struct Content(watch::Receiver<Option<String>>);

/// Reads these files.
pub(crate) fn follow<const N: usize>(
    paths: [PathBuf; N],
) -> std::io::Result<(Reader, [Content; N])> {
    let files = paths.map(|path| (path, watch::channel(None)));
    let contents = files.each_ref().map(|(_, (_, content))| Content(content.clone()));
    let files = files.map(|(path, (content, _))| (path, content));
    let changes = Changes::new()?;
    let bell = changes.bell();
    let thread = std::thread::Builder::new().name("files".into()).spawn(move || {
        loop {
            // Before they are read: what changes from then on is told.
            let is_told = changes.watch(files.iter().map(|(path, _)| &**path));
            files.iter().for_each(|(path, content)| look(path, content));
            std::thread::sleep(PAUSE);
            if changes.wait(if is_told { SELDOM } else { LOOK }) {
                return;
            }
        }
    })?;
    Ok((Reader { thread: Some(thread), bell }, contents))
}

impl Content {
    /// The file's content, when it is another one. A file that cannot be read is as it was: kubelet swaps files by links, and there
    /// is a moment between.
    pub(crate) async fn changed(&mut self) -> String {
        loop {
            if self.0.changed().await.is_err() {
                // Nobody reads any more.
                std::future::pending::<()>().await;
            }
            if let Some(content) = self.0.borrow_and_update().clone() {
                return content;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // Soon: all that it may be at is a pause and one look.
            let _ = thread.join();
        }
    }
}

fn look(path: &Path, content: &watch::Sender<Option<String>>) {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    if read.is_err() {
        return;
    }
    let found = String::from_utf8_lossy(&bytes);
    content.send_if_modified(|known| {
        let is_new = known.as_deref() != Some(&*found);
        if is_new {
            *known = Some(found.into_owned());
        }
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubelet does: all of it at once.
    fn put(path: &Path, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_changes_is_told_once_and_what_is_gone_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        put(&one, "first");
        let (reader, [mut content, mut of_other]) = follow([one.clone(), other.clone()]).unwrap();
        let next = async |content: &mut Content| {
            tokio::time::timeout(PATIENCE, content.changed()).await.expect("a change")
        };
        assert_eq!(next(&mut content).await, "first");
        put(&other, "");
        assert_eq!(next(&mut of_other).await, "");
        std::fs::remove_file(&one).unwrap();
        // Some looks later, by the other file: nothing was told of the one that is gone.
        for text in ["a", "b", "c"] {
            put(&other, text);
            assert_eq!(next(&mut of_other).await, text);
        }
        put(&one, "first");
        put(&other, "d");
        assert_eq!(next(&mut of_other).await, "d");
        assert!(!content.0.has_changed().unwrap());
        put(&one, "second");
        assert_eq!(next(&mut content).await, "second");
        drop(reader);
        assert!(content.0.has_changed().is_err(), "nobody reads any more");
    }

    #[test]
    fn a_longer_file_than_any_that_is_good_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, vec![b'x'; 2 * MAX_FILE as usize]).unwrap();
        let (content, told) = watch::channel(None);
        look(&path, &content);
        assert_eq!(told.borrow().as_ref().map(String::len), Some(MAX_FILE as usize));
    }
}
