//! The sender of a file.

use std::path::Path;
use std::time::{Duration, Instant};

use baton_protocol::id::PeerId;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Answer, CHUNK, FileError, Offer, Outcome, Start, is_plain, read, service, write};
use crate::client::Client;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// A file that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Its length.
    pub bytes: u64,
    /// Of these, how many were there from an earlier attempt.
    pub resumed_at: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Sends a file to a peer that [receives](super::Receiver), under the name that it has. If the transfer breaks it is taken up
/// where it was, as long as `patience` does not pass without a byte more. `progress` is told how much is there, and of how much.
pub async fn send(
    client: &Client,
    path: &Path,
    peer: PeerId,
    patience: Duration,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Sent, FileError> {
    // Closing the client waits for it, and what begins after that begins in vain: the stream says so.
    let _hold = client.hold();
    let name = name_of(path)?;
    let mut furthest = 0;
    let mut moved_at = Instant::now();
    loop {
        let told = |done, size| {
            if done > furthest {
                (furthest, moved_at) = (done, Instant::now());
            }
            progress(done, size);
        };
        match attempt(client, path, name, peer, told).await {
            Err(error) if error.may_heal() && moved_at.elapsed() < patience => {
                tracing::info!(%error, "the transfer is taken up again");
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Whether a file can be sent: it is one, it can be read, and it has a plain name.
pub async fn check(path: &Path) -> Result<(), FileError> {
    open(path).await?;
    name_of(path).map(drop)
}

fn name_of(path: &Path) -> Result<&str, FileError> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_plain(name));
    let why = "its name is no plain name: rename it";
    name.ok_or_else(|| FileError::Unfit { path: path.into(), why })
}

/// The file, and its length.
async fn open(path: &Path) -> Result<(File, u64), FileError> {
    let unfit = |why| FileError::Unfit { path: path.into(), why };
    let local = |source| FileError::Local { path: path.into(), what: "sent", source };
    let file = File::open(path).await.map_err(local)?;
    let metadata = file.metadata().await.map_err(local)?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(unfit("it is no file")) }
}

async fn attempt(
    client: &Client,
    path: &Path,
    name: &str,
    peer: PeerId,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Sent, FileError> {
    let (mut file, size) = open(path).await?;
    let (mut send, mut receive) = client.open(peer, &service()).await?;
    write(&mut send, &Offer { name: name.to_owned(), size }).await?;
    let (have, known) = match read(&mut receive).await? {
        Answer::Have { have, sha256 } => (have, sha256),
        Answer::Refused { refused, again } => {
            return Err(FileError::Refused { what: refused, again });
        }
    };
    let mut reader = Reader { file: &mut file, path, hash: Sha256::new(), at: 0 };
    // What is there counts only if it is the beginning of this file.
    if have <= size {
        while reader.at < have {
            reader.next(have).await?;
        }
    }
    if reader.at != have || HEXLOWER.encode(&reader.hash.clone().finalize()) != known {
        reader.restart().await?;
    }
    let from = reader.at;
    write(&mut send, &Start { from }).await?;
    let outcome = async {
        progress(from, size);
        while reader.at < size {
            let chunk = reader.next(size).await?;
            send.write_all(&chunk).await?;
            progress(reader.at, size);
        }
        let checksum = reader.hash.finalize();
        send.write_all(&checksum).await?;
        // It cannot have ended: only we end it.
        let _ = send.finish();
        Ok::<_, FileError>(HEXLOWER.encode(&checksum))
    };
    let sent = outcome.await;
    // A receiver that stops the stream says why.
    match (sent, read(&mut receive).await) {
        (Ok(sha256), Ok(Outcome::Saved { .. })) => {
            Ok(Sent { bytes: size, resumed_at: from, sha256 })
        }
        (Ok(_) | Err(FileError::Broken(_)), Ok(Outcome::Refused { refused })) => {
            Err(FileError::Refused { what: refused, again: false })
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Reads a file from its beginning, and knows the checksum of what was read.
struct Reader<'a> {
    file: &'a mut File,
    path: &'a Path,
    hash: Sha256,
    at: u64,
}

impl Reader<'_> {
    /// The next bytes, not beyond `end`.
    async fn next(&mut self, end: u64) -> Result<Vec<u8>, FileError> {
        let length = usize::try_from(end - self.at).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; length];
        let path = self.path;
        self.file.read_exact(&mut chunk).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => FileError::Changed { path: path.into() },
            _ => FileError::Local { path: path.into(), what: "read", source },
        })?;
        self.hash.update(&chunk);
        self.at += length as u64;
        Ok(chunk)
    }

    async fn restart(&mut self) -> Result<(), FileError> {
        let path = self.path;
        let failed = |source| FileError::Local { path: path.into(), what: "read again", source };
        self.file.rewind().await.map_err(failed)?;
        (self.hash, self.at) = (Sha256::new(), 0);
        Ok(())
    }
}
