//! The control socket: many connections, each with its own list of what to mend when it closes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cluster::{AskError, Cluster};
use crate::control::{Ask, Outcome, Reply, Request, Undo};

/// Connections at once: tests open one for each test process.
const CONNECTIONS_MAX: usize = 128;

/// The listening socket.
pub(super) struct Server(UnixListener);

/// Whoever asked for the cluster's end, and still waits for the answer.
pub(super) struct AskedDown(Option<OwnedWriteHalf>);

impl Server {
    /// Binds the socket. The state folder can only be entered by root, so nobody else can ask.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self(UnixListener::bind(path)?))
    }

    /// Serves until somebody asks for the end, or `end` comes.
    pub(super) async fn serve(
        self,
        cluster: &Arc<Cluster>,
        end: impl Future<Output = ()>,
    ) -> AskedDown {
        let (down, mut asked_down) = mpsc::channel(1);
        let mut connections = JoinSet::new();
        let mut end = std::pin::pin!(end);
        let asker = loop {
            tokio::select! {
                () = &mut end => break None,
                asker = asked_down.recv() => break asker,
                Some(_) = connections.join_next() => {}
                accepted = self.0.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(serve(stream, Arc::clone(cluster), down.clone()));
                        }
                        Err(error) => super::pause_after_failed_accept(&error).await,
                    }
                }
            }
        };
        // No connection lives longer than the cluster, nor keeps it alive.
        connections.shutdown().await;
        AskedDown(asker)
    }
}

impl AskedDown {
    /// Tells whoever asked that it is done.
    pub(super) async fn answer(self) {
        if let Some(mut asker) = self.0 {
            let _ = send(&mut asker, &Reply::Done).await;
        }
    }
}

/// Serves one connection, then mends what it broke.
async fn serve(stream: UnixStream, cluster: Arc<Cluster>, down: mpsc::Sender<OwnedWriteHalf>) {
    let (read, mut write) = stream.into_split();
    let mut undo = Undo::default();
    let asked_down = converse(read, &mut write, &cluster, &mut undo).await;
    if asked_down {
        let _ = down.send(write).await;
        return;
    }
    for mend in undo.into_asks() {
        if let Err(error) = cluster.carry_out(&mend).await {
            tracing::error!(?mend, %error, "cannot mend what a closed connection broke");
        }
    }
}

/// Answers requests until the connection closes. Was the cluster's end asked for?
async fn converse(
    read: OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    cluster: &Cluster,
    undo: &mut Undo,
) -> bool {
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match serde_json::from_str(&line) {
            Ok(Request { ask: Ask::Down, .. }) => return true,
            Ok(Request { ask, keep }) => {
                tracing::info!(?ask, keep, "asked");
                let result = cluster.carry_out(&ask).await;
                if !keep {
                    undo.note(&ask, outcome(&result));
                }
                match result {
                    Ok(reply) => reply,
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Err(error) => Reply::Failed(format!("not a request: {error}")),
        };
        if send(write, &reply).await.is_err() {
            break;
        }
    }
    false
}

fn outcome(result: &Result<Reply, AskError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) if error.is_refusal() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    }
}

async fn send(write: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    write.write_all(&line).await
}
