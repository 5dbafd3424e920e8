//! What the parts of a session say to its [pilot](super::pilot) of paths.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use baton_protocol::class::FailureClass;
use baton_protocol::frame::RouteId;
use baton_protocol::path::report::PathReport;
use tokio::sync::{mpsc, oneshot};

use super::{Migrated, MigrationError, Probed};
use crate::session::queue::lock;

/// Orders and news that may wait. News beyond that is dropped: what matters is said again.
const WAITING: usize = 64;

/// The answer to an order.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, MigrationError>>;

/// What an owner wants.
#[derive(Debug)]
pub(crate) enum Order {
    /// Try this path.
    Probe { socket: Arc<UdpSocket>, reply: Reply<Probed> },
    /// Use it. The answer has the number of the attempt.
    Switch { socket: Arc<UdpSocket>, probed: Option<Probed>, reply: Reply<u64> },
    /// Say how that attempt ends.
    Confirm { number: u64, reply: Reply<Migrated> },
    /// Take it back.
    RollBack { number: u64, reply: Reply<()> },
    /// All of it.
    Migrate { socket: Arc<UdpSocket>, reply: Reply<Migrated> },
    /// What the session's readers heard.
    News(News),
}

/// What the relay says of paths.
#[derive(Debug)]
pub(crate) enum News {
    /// It knows of probes and reports.
    Knows,
    /// Ids for probes, in place of those before.
    Probes(Vec<RouteId>),
    /// ECHO came while a path was being confirmed.
    Echo([u8; 8]),
    /// ECHO_REPLY came.
    EchoReply([u8; 8]),
    /// PATH_CONFIRMED came.
    Confirmed(u64),
    /// The relay sees this client at another address, which it has not announced.
    SeenElsewhere,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct PathLink {
    orders: mpsc::Sender<Order>,
    /// A path is being confirmed: the relay's ECHO is for the pilot.
    pub(super) confirming: AtomicBool,
    /// The attempt that is probing, and since when.
    pub(super) probing: Mutex<Option<(u64, Instant)>>,
}

impl PathLink {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel(WAITING);
        let link = Self { orders, confirming: AtomicBool::new(false), probing: Mutex::default() };
        (link, taken)
    }

    pub(super) async fn order(&self, order: Order) -> Result<(), mpsc::error::SendError<Order>> {
        self.orders.send(order).await
    }

    /// Whether a path is being confirmed.
    pub(crate) fn is_confirming(&self) -> bool {
        self.confirming.load(Ordering::Acquire)
    }

    /// The relay said something of paths.
    pub(crate) fn tell(&self, news: News) {
        let _ = self.orders.try_send(Order::News(news));
    }

    /// The session has ended like this. An attempt of which its relay can know nothing, because it was still probing, is to be
    /// reported in the next one.
    pub(crate) fn unreported(&self, class: FailureClass) -> Option<PathReport> {
        let (attempt, since) = lock(&self.probing).take()?;
        Some(PathReport { attempt, failed: Some(class), took: since.elapsed() })
    }
}
