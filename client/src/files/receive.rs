//! The receiver of files.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::id::PeerId;
use data_encoding::HEXLOWER;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{
    Answer, CHECKSUM, CHUNK, FileError, Offer, Outcome, Start, is_plain, read, service, write,
};
use crate::client::Client;
use crate::e2e::{IncomingStream, RecvStream, Rejection, SendStream};
use crate::life::Hold;
use crate::service::Allow;

/// Files at a time.
const TRANSFERS: usize = 16;

/// What became of files that nobody has asked for yet.
const WAITING: usize = 64;

/// How often it is told how much is there.
const TELL: Duration = Duration::from_millis(200);

/// What becomes of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Received {
    /// It has begun, or goes on.
    Begun {
        /// Which.
        name: String,
        /// Who sends it.
        peer: PeerId,
        /// How much of it is there already.
        from: u64,
        /// How long it is.
        size: u64,
    },
    /// More of it is there. Told now and then, and not if nobody asks.
    Going {
        /// Which.
        name: String,
        /// How much of it is there.
        done: u64,
        /// How long it is.
        size: u64,
    },
    /// It is there.
    Saved {
        /// Where.
        path: PathBuf,
        /// Who sent it.
        peer: PeerId,
        /// How long it is.
        size: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
    },
    /// It did not come, or not all of it: that can be taken up again.
    Failed {
        /// Who sent it.
        peer: PeerId,
        /// Why.
        why: String,
    },
}

/// Takes files into a folder.
#[derive(Debug)]
pub struct Receiver {
    news: mpsc::Receiver<Received>,
    _task: JoinSet<()>,
}

/// What every transfer needs to know.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    overwrite: bool,
    max_size: u64,
    news: mpsc::Sender<Received>,
}

impl Receiver {
    /// Offers to take files of at most `max_size` bytes from whom `allow` admits. A file that exists is replaced only with
    /// `overwrite`. This takes every stream that the client accepts.
    #[must_use]
    pub fn start(
        client: &Client,
        folder: PathBuf,
        allow: Allow,
        overwrite: bool,
        max_size: u64,
    ) -> Self {
        let (sender, news) = mpsc::channel(WAITING);
        let place = Arc::new(Place { folder, overwrite, max_size, news: sender });
        client.offer(service(), allow);
        let mut task = JoinSet::new();
        task.spawn(run(client.clone(), place));
        Self { news, _task: task }
    }

    /// What happens next. None once the client is closed. If nobody asks, transfers wait.
    pub async fn next(&mut self) -> Option<Received> {
        self.news.recv().await
    }
}

async fn run(client: Client, place: Arc<Place>) {
    let mut transfers = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = client.accept(), if transfers.len() < TRANSFERS => incoming,
            Some(_) = transfers.join_next() => continue,
            () = client.closed() => None,
        };
        let Some(incoming) = incoming else { break };
        match client.hold() {
            Some(hold) => drop(transfers.spawn(one(incoming, place.clone(), hold))),
            None => incoming.reject(Rejection::Closing).await,
        }
    }
    // Their streams are closed with the client.
    while transfers.join_next().await.is_some() {}
}

async fn one(incoming: IncomingStream, place: Arc<Place>, _hold: Hold) {
    let peer = incoming.peer();
    let Ok((mut send, mut receive)) = incoming.accept().await else { return };
    let news = match place.take(peer, &mut send, &mut receive).await {
        Ok(saved) => saved,
        Err(error) => {
            let refused = match &error {
                FileError::Refused { what, again } => Some((what.clone(), *again)),
                // Without the path, which is nobody else's business.
                FileError::Local { .. } => Some(("it cannot be kept here".to_owned(), false)),
                _ => None,
            };
            if let Some((refused, again)) = refused {
                let _ = write(&mut send, &Answer::Refused { refused, again }).await;
            }
            Received::Failed { peer, why: error.to_string() }
        }
    };
    if let Received::Saved { .. } = news {
        let _ = write(&mut send, &Outcome::Saved { saved: true }).await;
    }
    let _ = send.finish();
    // Until the sender has the answer: closing would take it back.
    let _ = send.stopped().await;
    let _ = place.news.send(news).await;
}

impl Place {
    async fn take(
        &self,
        peer: PeerId,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<Received, FileError> {
        let Offer { name, size } = read(receive).await?;
        let refused = |what: String| FileError::Refused { what, again: false };
        if !is_plain(&name) {
            return Err(refused("its name is no plain name".to_owned()));
        }
        if size > self.max_size {
            return Err(refused(format!("files of more than {} bytes are refused", self.max_size)));
        }
        let path = self.folder.join(&name);
        // Asked again when it is renamed; this is so that nobody sends a file in vain.
        if !self.overwrite && tokio::fs::symlink_metadata(&path).await.is_ok() {
            return Err(refused("there is a file of that name".to_owned()));
        }
        let mut part = Part::open(self.folder.join(format!(".{name}.{size}.part"))).await?;
        let sha256 = HEXLOWER.encode(&part.hash.clone().finalize());
        write(send, &Answer::Have { have: part.length, sha256 }).await?;
        let Start { from } = read(receive).await?;
        if from != part.length {
            part.truncate().await?;
        }
        if from != part.length || from > size {
            return Err(refused("it begins where nobody asked for".to_owned()));
        }
        let _ = self.news.send(Received::Begun { name: name.clone(), peer, from, size }).await;
        let mut told = Instant::now();
        let going = |done| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                // Full: there will be another.
                let _ = self.news.try_send(Received::Going { name: name.clone(), done, size });
            }
        };
        part.fill(receive, size, going).await?;
        let mut checksum = [0; CHECKSUM];
        receive.read_exact(&mut checksum).await?;
        if part.hash.clone().finalize()[..] != checksum {
            part.remove().await;
            return Err(refused("its checksum is wrong: it changed while it was sent".to_owned()));
        }
        part.save(&path, self.overwrite).await?;
        Ok(Received::Saved { path, peer, size, sha256: HEXLOWER.encode(&checksum) })
    }
}

/// A file that is not whole yet. While it is open, nobody else writes to it.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    /// Of what is there.
    hash: Sha256,
}

impl Part {
    async fn open(path: PathBuf) -> Result<Self, FileError> {
        let mut options = std::fs::OpenOptions::new();
        // A link that somebody has put there leads nowhere.
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(nofollow);
        let failed = local(&path, "written");
        let file = tokio::fs::OpenOptions::from(options).open(&path).await.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let what = "another transfer of this file is under way".to_owned();
                return Err(FileError::Refused { what, again: true });
            }
            Err(error) => return Err(local(&path, "locked")(error.into())),
        }
        let mut part = Self { path, file, length: 0, hash: Sha256::new() };
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = part.file.read(&mut chunk).await.map_err(local(&part.path, "read"))?;
            if read == 0 {
                return Ok(part);
            }
            part.hash.update(&chunk[..read]);
            part.length += read as u64;
        }
    }

    async fn truncate(&mut self) -> Result<(), FileError> {
        let failed = local(&self.path, "emptied");
        self.file.set_len(0).await.map_err(&failed)?;
        self.file.seek(SeekFrom::Start(0)).await.map_err(&failed)?;
        (self.length, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Takes bytes until there are `size`. Those that came before an error stay.
    async fn fill(
        &mut self,
        receive: &mut RecvStream,
        size: u64,
        mut going: impl FnMut(u64) + Send,
    ) -> Result<(), FileError> {
        let mut chunk = vec![0; CHUNK];
        while self.length < size {
            let wanted = usize::try_from(size - self.length).unwrap_or(CHUNK).min(CHUNK);
            let mut filled = 0;
            let mut broken = None;
            while filled < wanted && broken.is_none() {
                match receive.read(&mut chunk[filled..wanted]).await {
                    Ok(Some(read)) => filled += read,
                    Ok(None) => broken = Some(FileError::Broken("it ended too early".to_owned())),
                    Err(error) => broken = Some(error.into()),
                }
            }
            let failed = local(&self.path, "written");
            self.file.write_all(&chunk[..filled]).await.map_err(&failed)?;
            // The write itself happens elsewhere: only this waits for it.
            self.file.flush().await.map_err(&failed)?;
            self.hash.update(&chunk[..filled]);
            self.length += filled as u64;
            going(self.length);
            if let Some(error) = broken {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives it its name, at once, when all of it is on the disk.
    async fn save(self, path: &Path, overwrite: bool) -> Result<(), FileError> {
        self.file.sync_all().await.map_err(local(&self.path, "written"))?;
        let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let (from, to) = (self.path.clone(), path.to_owned());
        let renamed = tokio::task::spawn_blocking(move || {
            rustix::fs::renameat_with(CWD, from, CWD, to, flags)
        });
        match renamed.await.map_err(|error| FileError::Broken(error.to_string()))? {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(FileError::Refused {
                what: "there is a file of that name".to_owned(),
                again: false,
            }),
            Err(error) => Err(local(path, "made")(error.into())),
        }
    }

    async fn remove(&self) {
        // What stays is found again, and is not the beginning of anything.
        let _ = tokio::fs::remove_file(&self.path).await;
    }
}

fn local(path: &Path, what: &'static str) -> impl Fn(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Local { path: path.clone(), what, source }
}
