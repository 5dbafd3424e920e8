//! The asking end of the control socket.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::{Ask, ClusterStatus, Reply, Request};
use crate::names;

/// A connection to the supervisor. Faults made through it are mended when it is dropped.
#[derive(Debug)]
pub struct Connection {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

/// Why the supervisor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no supervisor.
    #[error("no cluster is up (start one with `make cluster-up`)")]
    NotUp,
    /// The state folder can only be entered by root.
    #[error("the cluster is root's: run it as root")]
    NotRoot,
    /// The socket could not be reached, or broke.
    #[error("the connection to the cluster's supervisor broke")]
    Io(#[from] io::Error),
    /// The answer made no sense: another version of the tool?
    #[error("the supervisor answered `{0}`, which is no answer to that")]
    Answer(String),
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

impl Connection {
    /// Connects to the supervisor of the machine's cluster.
    ///
    /// # Errors
    /// When none listens.
    pub async fn open() -> Result<Self, ControlError> {
        Self::open_at(&names::control_socket()).await
    }

    async fn open_at(socket: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotUp,
            io::ErrorKind::PermissionDenied => ControlError::NotRoot,
            _ => ControlError::Io(error),
        })?;
        let (read, write) = stream.into_split();
        Ok(Self { lines: BufReader::new(read).lines(), write })
    }

    /// The supervisor's process.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub fn supervisor(&self) -> io::Result<i32> {
        let process = self.write.as_ref().peer_cred()?.pid();
        process.ok_or_else(|| io::Error::other("the supervisor's process is not known"))
    }

    /// Asks for something that lasts only as long as this connection.
    ///
    /// # Errors
    /// When the supervisor refuses or goes away.
    pub async fn ask(&mut self, ask: Ask) -> Result<Reply, ControlError> {
        self.send(Request { ask, keep: false }).await
    }

    /// Asks for something that stays after this connection.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub async fn ask_for_good(&mut self, ask: Ask) -> Result<Reply, ControlError> {
        self.send(Request { ask, keep: true }).await
    }

    /// How is the cluster?
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub async fn status(&mut self) -> Result<ClusterStatus, ControlError> {
        match self.ask(Ask::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(ControlError::Answer(format!("{other:?}"))),
        }
    }

    async fn send(&mut self, request: Request) -> Result<Reply, ControlError> {
        let mut line = serde_json::to_vec(&request).map_err(io::Error::from)?;
        line.push(b'\n');
        self.write.write_all(&line).await?;
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let answer = self.lines.next_line().await?.ok_or_else(gone)?;
        match serde_json::from_str(&answer) {
            Ok(Reply::Failed(why)) => Err(ControlError::Refused(why)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(ControlError::Answer(answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_supervisor_is_whoever_listens() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("control.sock");
        let missing = Connection::open_at(&socket).await.unwrap_err();
        assert!(matches!(missing, ControlError::NotUp));
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let connection = Connection::open_at(&socket).await.unwrap();
        assert_eq!(u32::try_from(connection.supervisor().unwrap()), Ok(std::process::id()));
    }
}
