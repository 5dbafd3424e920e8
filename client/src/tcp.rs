//! TCP through streams: what `baton expose` and `baton forward` do.
//!
//! A TCP connection is one stream. Its half-close is the stream's end, its reset is the stream's reset, in both directions,
//! so that either side sees of the other what it would see on one TCP connection: all bytes and an end, or a reset.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ReadError, RecvStream, SendStream, StoppedError, WriteError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::e2e::{ABANDONED, IncomingStream, Rejection};
use crate::life::Hold;
use crate::service::ServiceName;
use baton_protocol::id::PeerId;

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// How long the TCP service behind an exposed name may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Connections at a time. Others wait to be accepted.
const CONNECTIONS: usize = 4096;

/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that ended by a reset instead of an end.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// On the TCP side.
    #[error("the TCP connection broke: {0}")]
    Tcp(#[from] io::Error),
    /// On the other: the other peer's TCP connection broke, or the connection between peers was lost.
    #[error("the stream broke: {0}")]
    Read(#[from] ReadError),
    /// Likewise.
    #[error("the stream broke: {0}")]
    Write(#[from] WriteError),
    /// Likewise, after all was written.
    #[error("the stream broke: {0}")]
    Stopped(#[from] StoppedError),
    /// The other side wants no more of it.
    #[error("the other side wants no more")]
    Refused,
}

/// Carries bytes both ways until both ends have ended. Bytes from TCP to the stream, and back.
pub async fn pipe(
    tcp: TcpStream,
    send: SendStream,
    receive: RecvStream,
) -> Result<(u64, u64), PipeError> {
    let mut pipe = Pipe { tcp, send, receive, whole: false };
    // Small writes are the business of whoever makes them.
    let _ = pipe.tcp.set_nodelay(true);
    let (mut from_tcp, mut to_tcp) = pipe.tcp.split();
    let (send, receive) = (&mut pipe.send, &mut pipe.receive);
    let out = async {
        let mut buffer = vec![0; CHUNK];
        let mut total = 0;
        loop {
            match from_tcp.read(&mut buffer).await? {
                0 => break,
                count => {
                    send.write_all(&buffer[..count]).await?;
                    total += count as u64;
                }
            }
        }
        // It cannot have ended: only we end it.
        let _ = send.finish();
        // Until the other side has every byte, or this process might end before them.
        match send.stopped().await? {
            None => Ok(total),
            Some(_) => Err(PipeError::Refused),
        }
    };
    let back = async {
        let mut total = 0;
        while let Some(chunk) = receive.read_chunk(CHUNK, true).await? {
            to_tcp.write_all(&chunk.bytes).await?;
            total += chunk.bytes.len() as u64;
        }
        to_tcp.shutdown().await?;
        Ok::<u64, PipeError>(total)
    };
    let totals = tokio::try_join!(out, back)?;
    pipe.whole = true;
    Ok(totals)
}

/// Both sides of a pipe. If it ends before both sides have, both are reset: an end would say that this was all.
struct Pipe {
    tcp: TcpStream,
    send: SendStream,
    receive: RecvStream,
    whole: bool,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if !self.whole {
            // quinn ends a stream that is dropped, and TCP one that has nothing unread: both would look whole.
            let _ = self.send.reset(ABANDONED);
            let _ = self.receive.stop(ABANDONED);
            let _ = self.tcp.set_zero_linger();
        }
    }
}

/// Takes each connection of `listener` to a service of a peer, until the client is closed. Once the client drains no more are
/// taken, and those that are open go on until they end or it is closed.
pub async fn forward(client: &Client, listener: TcpListener, peer: PeerId, service: &ServiceName) {
    let mut connections = JoinSet::new();
    loop {
        make_room(&mut connections).await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = client.draining() => break,
        };
        match accepted {
            Ok((tcp, from)) => {
                let (client, service) = (client.clone(), service.clone());
                connections
                    .spawn(async move { forward_one(&client, tcp, from, peer, &service).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Whoever connects now is refused, instead of waiting for nothing.
    drop(listener);
    end(client, connections).await;
}

async fn forward_one(
    client: &Client,
    tcp: TcpStream,
    from: SocketAddr,
    peer: PeerId,
    service: &ServiceName,
) {
    let hold = client.hold();
    match client.open(peer, service).await {
        Ok((send, receive)) if hold.is_some() => {
            report(pipe(tcp, send, receive).await, &from.to_string());
        }
        opened => {
            if let Err(error) = opened {
                tracing::warn!(%peer, %service, %error, "a connection cannot be forwarded");
            }
            // The caller sees a reset, not an answer without content.
            let _ = tcp.set_zero_linger();
        }
    }
}

/// Takes each stream to a service of this client to a TCP service, until the client is closed. The caller has offered it.
pub async fn expose(client: &Client, to: SocketAddr) {
    expose_each(client, |_| Some(to)).await;
}

/// Takes each stream to where its service stands. One to a service that stands nowhere is refused.
pub async fn expose_each(client: &Client, stands: impl Fn(&ServiceName) -> Option<SocketAddr>) {
    let mut connections = JoinSet::new();
    loop {
        make_room(&mut connections).await;
        let incoming = tokio::select! {
            incoming = client.accept() => incoming,
            () = client.closed() => None,
        };
        let Some(incoming) = incoming else { break };
        let to = stands(incoming.service());
        connections.spawn(expose_one(incoming, to, client.hold()));
    }
    end(client, connections).await;
}

async fn expose_one(incoming: IncomingStream, to: Option<SocketAddr>, hold: Option<Hold>) {
    let peer = incoming.peer();
    let (Some(to), Some(_hold)) = (to, hold) else {
        let why = if to.is_none() { Rejection::UnknownService } else { Rejection::Closing };
        return incoming.reject(why).await;
    };
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(to)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match connected {
        Ok(tcp) => {
            if let Ok((send, receive)) = incoming.accept().await {
                report(pipe(tcp, send, receive).await, &format!("{peer:?}"));
            }
        }
        Err(error) => {
            tracing::warn!(%to, %error, "the exposed service does not answer");
            incoming.reject(Rejection::Unreachable).await;
        }
    }
}

/// Joins what has ended; waits for one if there are too many.
async fn make_room(connections: &mut JoinSet<()>) {
    while connections.try_join_next().is_some() {}
    if connections.len() >= CONNECTIONS {
        connections.join_next().await;
    }
}

/// Waits for the connections that are left, as long as the client lives. Then they are reset.
async fn end(client: &Client, mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = client.closed() => {}
    }
    connections.shutdown().await;
}

fn report(ended: Result<(u64, u64), PipeError>, from: &str) {
    match ended {
        Ok((out, back)) => tracing::debug!(from, out, back, "a connection ended"),
        Err(error) => tracing::info!(from, %error, "a connection was reset"),
    }
}
