//! Many idle sessions, cheaply held: connections of quinn over a few sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use baton_protocol::frame::Frame;
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use tokio::task::JoinSet;

use crate::bare;
use crate::quinn_loop::ALONE;
use crate::session::{Control, Session};

/// Connections of one socket: as many packets as that find room in its buffer, however small that is by default. What is lost
/// there, while this process is busy with others, would be waited for as if the relay had been slow.
const PER_ENDPOINT: usize = 250;

/// Handshakes under way at a time: few enough that no relay asks for a retry.
const AT_ONCE: usize = 32;

/// What is attached to.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// A bare loop of quinn.
    Bare,
    /// A relay, with this token; empty if it demands none.
    Baton(Bytes),
}

/// What all sessions were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) goaways: AtomicUsize,
    pub(crate) cancels: AtomicUsize,
    first: Mutex<Option<Instant>>,
}

impl Told {
    /// When the first GOAWAY came since this was asked last.
    pub(crate) fn take_first(&self) -> Option<Instant> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn goaway(&self) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.goaways.fetch_add(1, Ordering::Relaxed);
    }
}

/// Attached sessions. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Sessions {
    connections: Vec<Connection>,
    endpoints: Vec<Endpoint>,
    pub(crate) told: Arc<Told>,
    /// Read and answer what the relay says.
    tasks: JoinSet<()>,
}

impl Sessions {
    /// So many.
    pub(crate) async fn attach(
        count: usize,
        relay: SocketAddr,
        config: &quinn::ClientConfig,
        door: &Door,
    ) -> anyhow::Result<Self> {
        let endpoints: Vec<_> = (0..count.div_ceil(PER_ENDPOINT))
            .map(|_| bare::endpoint())
            .collect::<Result<_, _>>()?;
        let mut this = Self {
            connections: Vec::with_capacity(count),
            endpoints,
            told: Arc::default(),
            tasks: JoinSet::new(),
        };
        let mut attaching = JoinSet::new();
        for number in 0..count {
            if attaching.len() >= AT_ONCE {
                this.attached(attaching.join_next().await)?;
            }
            let endpoint = this.endpoints[number / PER_ENDPOINT].clone();
            let (config, door) = (config.clone(), door.clone());
            attaching.spawn(async move { attach(&endpoint, relay, &config, door).await });
        }
        while !attaching.is_empty() {
            this.attached(attaching.join_next().await)?;
        }
        Ok(this)
    }

    fn attached(
        &mut self,
        joined: Option<Result<anyhow::Result<Attached>, tokio::task::JoinError>>,
    ) -> anyhow::Result<()> {
        let Some(joined) = joined else { return Ok(()) };
        let (connection, control) = joined?.context("a session cannot be attached")?;
        self.connections.push(connection);
        if let Some(control) = control {
            self.tasks.spawn(listen(control, self.told.clone()));
        }
        Ok(())
    }

    /// How many are still alive.
    pub(crate) fn alive(&self) -> usize {
        self.connections.iter().filter(|connection| connection.close_reason().is_none()).count()
    }

    /// Ends them all, and waits until the relay knows, or a moment.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
        for endpoint in &self.endpoints {
            endpoint.close(0_u32.into(), b"");
            let _ = tokio::time::timeout(Duration::from_secs(3), endpoint.wait_idle()).await;
        }
    }
}

type Attached = (Connection, Option<Control>);

async fn attach(
    endpoint: &Endpoint,
    relay: SocketAddr,
    config: &quinn::ClientConfig,
    door: Door,
) -> anyhow::Result<Attached> {
    match door {
        Door::Bare => Ok((bare::connect(endpoint, relay, config, ALONE).await?, None)),
        Door::Baton(token) => {
            let session = Session::attach(endpoint, relay, config, token).await?;
            Ok((session.connection, Some(session.control)))
        }
    }
}

/// Answers GOAWAYs, and stays.
async fn listen(mut control: Control, told: Arc<Told>) {
    while let Ok(frame) = control.next().await {
        match frame {
            Frame::GoAway(goaway) => {
                told.goaway();
                let ack = Frame::GoAwayAck { sequence: goaway.sequence };
                if control.say(&ack).await.is_err() {
                    return;
                }
            }
            Frame::GoAwayCancel { .. } => {
                told.cancels.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
