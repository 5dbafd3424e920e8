//! Files from peer to peer.

use std::path::Path;
use std::time::Duration;

use baton_client::files::{FileError, Received, Receiver, send};
use baton_client::{Allow, Client};
use rustix::fs::FlockOperation;
use serde_json::json;

use crate::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: u64 = 100 << 20;

struct Scene {
    fleet: Fleet,
    sender: Client,
    receiver: Client,
    files: Receiver,
    from: tempfile::TempDir,
    to: tempfile::TempDir,
}

impl Scene {
    async fn start(overwrite: bool) -> Self {
        let fleet = Fleet::start(1).await;
        let (sender, receiver) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = to.path().to_owned();
        let files = Receiver::start(&receiver, folder, Allow::Group, overwrite, LIMIT);
        Self { fleet, sender, receiver, files, from, to }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.from.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn send(&self, path: &Path) -> Result<baton_client::files::Sent, FileError> {
        send(&self.sender, path, self.receiver.peer(), PATIENCE, |_, _| ()).await
    }

    /// What becomes of a file next, but for how far it is.
    async fn news(&mut self) -> Received {
        loop {
            let news = tokio::time::timeout(Duration::from_secs(20), self.files.next()).await;
            match news.expect("news in time").expect("the receiver runs") {
                Received::Going { .. } => {}
                news => return news,
            }
        }
    }

    /// All names in the receiver's folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.to.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn end(self) {
        self.sender.close().await;
        self.receiver.close().await;
        self.fleet.stop().await;
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7 * 31 % 253) as u8).collect()
}

#[tokio::test]
async fn a_file_comes_whole_and_nothing_is_left_beside_it() {
    let mut scene = Scene::start(false).await;
    for (name, length) in [("empty", 0), ("one", 1), ("a chunk", 256 << 10), ("more", 3_000_001)] {
        let path = scene.write(name, &content(length));
        let mut last = (0, 0);
        let sent = send(&scene.sender, &path, scene.receiver.peer(), PATIENCE, |done, size| {
            last = (done, size);
        })
        .await
        .unwrap();
        assert_eq!((sent.bytes, sent.resumed_at), (length as u64, 0));
        assert_eq!(last, (length as u64, length as u64), "the progress ends where the file does");
        assert!(std::fs::read(scene.to.path().join(name)).unwrap() == content(length), "{name}");
        assert!(matches!(scene.news().await, Received::Begun { from: 0, .. }));
        let Received::Saved { sha256, .. } = scene.news().await else { panic!() };
        assert_eq!(sha256, sent.sha256);
    }
    assert_eq!(scene.names(), ["a chunk", "empty", "more", "one"]);
    scene.end().await;
}

#[tokio::test]
async fn a_file_goes_on_where_it_was_if_that_is_its_beginning_and_begins_anew_if_not() {
    let scene = Scene::start(false).await;
    let whole = content(1_000_000);
    for (name, there, from) in [
        ("goes-on", whole[..300_000].to_vec(), 300_000),
        ("is-there", whole.clone(), 1_000_000),
        ("is-another", vec![1; 300_000], 0),
        ("is-longer", vec![1; 1_200_000], 0),
    ] {
        let part = scene.to.path().join(format!(".{name}.1000000.part"));
        std::fs::write(part, there).unwrap();
        let sent = scene.send(&scene.write(name, &whole)).await.unwrap();
        assert_eq!(sent.resumed_at, from, "{name}");
        assert!(std::fs::read(scene.to.path().join(name)).unwrap() == whole, "{name}");
    }
    assert_eq!(scene.names(), ["goes-on", "is-another", "is-longer", "is-there"]);
    scene.end().await;
}

#[tokio::test]
async fn a_file_that_exists_is_replaced_only_on_demand() {
    for overwrite in [false, true] {
        let scene = Scene::start(overwrite).await;
        std::fs::write(scene.to.path().join("a"), "old").unwrap();
        let sent = scene.send(&scene.write("a", b"new")).await;
        let there = std::fs::read(scene.to.path().join("a")).unwrap();
        if overwrite {
            sent.unwrap();
            assert_eq!(there, b"new");
        } else {
            let error = sent.unwrap_err();
            assert!(error.to_string().contains("there is a file of that name"), "{error}");
            assert_eq!(there, b"old");
        }
        assert_eq!(scene.names(), ["a"]);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_part_that_another_transfer_writes_to_is_waited_for() {
    let scene = Scene::start(false).await;
    let path = scene.to.path().join(".a.3.part");
    let part = std::fs::File::create(&path).unwrap();
    rustix::fs::flock(&part, FlockOperation::LockExclusive).unwrap();
    let file = scene.write("a", b"new");
    let error = scene.send(&file).await.unwrap_err();
    assert!(error.to_string().contains("under way"), "{error}");
    drop(part);
    scene.send(&file).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_part_that_is_a_link_leads_nowhere() {
    let scene = Scene::start(false).await;
    let elsewhere = scene.write("elsewhere", b"precious");
    std::os::unix::fs::symlink(&elsewhere, scene.to.path().join(".a.3.part")).unwrap();
    let error = scene.send(&scene.write("a", b"new")).await.unwrap_err();
    assert!(error.to_string().contains("cannot be kept"), "{error}");
    assert_eq!(std::fs::read(elsewhere).unwrap(), b"precious");
    scene.end().await;
}

/// A sender that is not ours: the first message as it likes.
async fn offer(scene: &Scene, name: &str, size: u64) -> String {
    let service = baton_client::files::SERVICE.parse().unwrap();
    let (mut send, mut receive) = scene.sender.open(scene.receiver.peer(), &service).await.unwrap();
    let message = json!({"name": name, "size": size}).to_string();
    send.write_all(&(message.len() as u16).to_be_bytes()).await.unwrap();
    send.write_all(message.as_bytes()).await.unwrap();
    String::from_utf8(receive.read_to_end(4096).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_name_that_leads_out_of_the_folder_is_refused_whatever_the_sender_is() {
    let mut scene = Scene::start(true).await;
    for name in ["../a", "/tmp/a", "a/b", "..", ".", ".hidden", "a\0", ""] {
        let answer = offer(&scene, name, 1).await;
        assert!(answer.contains("no plain name"), "{name:?}: {answer}");
        assert!(matches!(scene.news().await, Received::Failed { .. }));
    }
    let answer = offer(&scene, "a", LIMIT + 1).await;
    assert!(answer.contains("are refused"), "{answer}");
    assert_eq!(scene.names(), [""; 0]);
    let unfit = scene.send(scene.from.path()).await.unwrap_err();
    assert!(unfit.to_string().contains("cannot be sent"), "{unfit}");
    scene.end().await;
}
