//! One link, from its handshake to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::wire::WireError;
use quinn::{
    ConnectError, Connection, ConnectionError, Endpoint, Incoming, ReadError, RecvStream,
    SendStream, WriteError,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error, info};

use super::forward;
use super::frame::{MeshDecoder, MeshFrame};
use super::{CLOSE_DUPLICATE, CLOSE_GOODBYE, CLOSE_SELF, CLOSE_VIOLATION, Shared, identity};
use crate::arrivals::{self, Arrivals, BATCH, Comes};
use crate::directory::{Duplicate, Sibling};
use crate::metrics::{Direction, Dropped};

/// From the first packet to the other end's greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// How many bytes of frames are written at a time.
const WRITE: usize = 32 * 1024;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("it cannot be dialed")]
    Dial(#[from] ConnectError),
    #[error("the connection failed")]
    Connection(#[from] ConnectionError),
    #[error("its stream cannot be read")]
    Read(#[from] ReadError),
    #[error("its stream cannot be written")]
    Write(#[from] WriteError),
    #[error("its stream ended")]
    Ended,
    #[error("it does not speak the protocol")]
    Wire(#[from] WireError),
    #[error("its first frame is no greeting")]
    NoGreeting,
    #[error("it is this relay itself")]
    Myself,
    #[error("it is a sibling that is known by another address")]
    Known,
    #[error("its relay id is ours")]
    SameId,
    #[error("there is a better link to the same relay")]
    Duplicate,
    #[error("it did not answer in time")]
    Timeout,
}

/// Dials a sibling and serves the link until it ends.
pub(super) async fn dial(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    address: SocketAddr,
) -> Result<(), LinkError> {
    let opening = async {
        let connection = endpoint.connect(address, identity::server_name())?.await?;
        let (send, receive) = connection.open_bi().await?;
        Ok::<_, LinkError>((connection, send, receive))
    };
    let opened =
        tokio::time::timeout(GREETING_TIMEOUT, opening).await.map_err(|_| LinkError::Timeout)??;
    run(shared, opened, Some(address)).await
}

/// Serves a link that a sibling dialed, until it ends.
pub(super) async fn accept(shared: &Arc<Shared>, incoming: Incoming) {
    let from = incoming.remote_address();
    let opening = async {
        let connection = incoming.accept()?.await?;
        let (send, receive) = connection.accept_bi().await?;
        Ok::<_, LinkError>((connection, send, receive))
    };
    let opened = tokio::time::timeout(GREETING_TIMEOUT, opening)
        .await
        .map_err(|_| LinkError::Timeout)
        .flatten();
    let ended = match opened {
        Ok(opened) => run(shared, opened, None).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        debug!(%from, %error, "no link");
    }
}

type Opened = (Connection, SendStream, RecvStream);

async fn run(
    shared: &Arc<Shared>,
    (connection, mut send, mut receive): Opened,
    dialed: Option<SocketAddr>,
) -> Result<(), LinkError> {
    let greeting =
        MeshFrame::Greeting { relay: shared.me, boot: shared.boot, address: shared.advertised };
    send.write_all(&greeting.encode()).await?;
    let mut decoder = MeshDecoder::default();
    let greeting = tokio::time::timeout(GREETING_TIMEOUT, read(&mut receive, &mut decoder)).await;
    let greeting = greeting.map_err(|_| LinkError::Timeout)??;
    let MeshFrame::Greeting { relay, boot, mut address } = greeting else {
        connection.close(CLOSE_VIOLATION.into(), b"no greeting");
        return Err(LinkError::NoGreeting);
    };
    if boot == shared.boot {
        connection.close(CLOSE_SELF.into(), b"this is myself");
        return Err(LinkError::Myself);
    }
    if relay == shared.me {
        connection.close(CLOSE_VIOLATION.into(), b"your relay id is mine");
        error!(%relay, %address, "another relay of this pool has the same id: one of the two must be replaced");
        return Err(LinkError::SameId);
    }
    if address.ip().is_unspecified() {
        // It listens everywhere, and was not told where that is. Where it comes from is the best guess.
        address.set_ip(connection.remote_address().ip());
    }
    if dialed.is_some_and(|dialed| dialed != address) && shared.directory.is_linked(address) {
        connection.close(CLOSE_DUPLICATE.into(), b"you are known by another address");
        return Err(LinkError::Known);
    }
    let (news, news_out) = mpsc::channel(crate::directory::MAX_NEWS);
    let dialer = if dialed.is_some() { shared.me } else { relay };
    let sibling = Arc::new(Sibling::new((relay, boot, address), dialer, connection, news));
    let Ok(mut flood) = shared.directory.link_up(&sibling) else {
        sibling.connection.close(CLOSE_DUPLICATE.into(), b"a better link exists");
        return Err(Duplicate.into());
    };
    info!(%relay, %address, dialed = dialed.is_some(), "linked");
    flood.push(MeshFrame::Synced);
    flood.extend(
        shared
            .directory
            .sibling_addresses()
            .into_iter()
            .map(|address| MeshFrame::Member { address }),
    );
    shared.directory.gossip(&MeshFrame::Member { address }, relay);
    let _ = shared.learned.try_send(address);

    let mut tasks = JoinSet::new();
    tasks.spawn(write_news(sibling.clone(), send, flood, news_out));
    tasks.spawn(read_datagrams(shared.clone(), sibling.clone()));
    tasks.spawn(write_datagrams(shared.clone(), sibling.clone()));
    let ended = listen(shared, &sibling, &mut receive, &mut decoder).await;
    let goodbye = said_goodbye(&sibling.connection);
    shared.directory.link_down(&sibling, goodbye);
    sibling.connection.close(CLOSE_VIOLATION.into(), b"the link ended");
    tasks.shutdown().await;
    shared.metrics.dropped(Dropped::Ended, sibling.egress.close());
    info!(%relay, goodbye, reason = %ended, "link down");
    Ok(())
}

/// Takes in what the sibling says, until it ends.
async fn listen(
    shared: &Arc<Shared>,
    sibling: &Arc<Sibling>,
    receive: &mut RecvStream,
    decoder: &mut MeshDecoder,
) -> LinkError {
    let mut heard = 0;
    let mut told = 0;
    loop {
        let next = match decoder.next_frame() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => {
                // All that has come is taken in: say so, once for many.
                if heard > told {
                    told = heard;
                    sibling.tell(MeshFrame::Heard { count: heard });
                }
                read(receive, decoder).await
            }
            Err(error) => Err(error.into()),
        };
        let frame = match next {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        heard += u64::from(frame.is_acknowledged());
        match frame {
            MeshFrame::Heard { count } => {
                sibling.acknowledged(count);
                shared.directory.changed.notify_waiters();
            }
            MeshFrame::Member { address } => {
                let _ = shared.learned.try_send(address);
            }
            frame => shared.directory.heard(sibling, frame),
        }
    }
}

async fn read(receive: &mut RecvStream, decoder: &mut MeshDecoder) -> Result<MeshFrame, LinkError> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        let chunk = receive.read_chunk(64 * 1024, true).await?.ok_or(LinkError::Ended)?;
        decoder.push(&chunk.bytes);
    }
}

async fn write_news(
    sibling: Arc<Sibling>,
    mut send: SendStream,
    flood: Vec<MeshFrame>,
    mut news: mpsc::Receiver<MeshFrame>,
) {
    let mut buffer = Vec::with_capacity(WRITE);
    for frame in flood {
        buffer.extend_from_slice(&frame.encode());
        if buffer.len() >= WRITE && write(&sibling, &mut send, &mut buffer).await.is_err() {
            return;
        }
    }
    loop {
        if !buffer.is_empty() && write(&sibling, &mut send, &mut buffer).await.is_err() {
            return;
        }
        let Some(frame) = news.recv().await else { return };
        buffer.extend_from_slice(&frame.encode());
        while buffer.len() < WRITE
            && let Ok(frame) = news.try_recv()
        {
            buffer.extend_from_slice(&frame.encode());
        }
    }
}

async fn write(
    sibling: &Sibling,
    send: &mut SendStream,
    buffer: &mut Vec<u8>,
) -> Result<(), WriteError> {
    sibling.egress.control_written(&sibling.connection);
    let written = send.write_all(buffer).await;
    buffer.clear();
    written
}

async fn read_datagrams(shared: Arc<Shared>, sibling: Arc<Sibling>) {
    let reading = pin!(sibling.connection.read_datagram());
    let mut arrivals = Arrivals::new(&sibling.connection, reading);
    while let Ok(batch) = arrivals.next(BATCH).await {
        let mut comes = batch.comes;
        for datagram in &*batch {
            forward::receive(&shared.directory, &shared.metrics, datagram, comes);
            comes = Comes::CloseBehind;
        }
        if batch.len() == BATCH {
            drop(batch);
            arrivals::receivers_first().await;
        }
    }
}

async fn write_datagrams(shared: Arc<Shared>, sibling: Arc<Sibling>) {
    sibling
        .egress
        .run(&sibling.connection, Direction::MeshOut, &shared.metrics, &shared.lines)
        .await;
}

/// Whether the sibling ended the link because it ends itself.
fn said_goodbye(connection: &Connection) -> bool {
    match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) => close.error_code == CLOSE_GOODBYE.into(),
        _ => false,
    }
}

impl From<Duplicate> for LinkError {
    fn from(_: Duplicate) -> Self {
        Self::Duplicate
    }
}
