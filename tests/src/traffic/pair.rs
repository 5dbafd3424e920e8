//! Two peers that talk: a TCP connection through `forward` and `expose`, and datagrams beside it.

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{Allow, Client, ClientConfig, ServiceName, Status, tcp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Direction, Exchanged, Flow, converse, exchange};

/// Bytes of a datagram.
const DATAGRAM: usize = 400;

/// What a pair offers.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// Of each direction of the TCP connection.
    pub bytes_per_second: u64,
    /// Between two datagrams of a direction.
    pub datagram_every: Duration,
}

impl Default for Offered {
    fn default() -> Self {
        Self { bytes_per_second: 50_000, datagram_every: Duration::from_millis(20) }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Blocks that were written.
    pub blocks_sent: u64,
    /// Blocks that came, in order, once.
    pub blocks_received: u64,
    /// Between two blocks of a direction.
    pub longest_stall: Duration,
    /// Datagrams that were sent.
    pub datagrams_sent: u64,
    /// Different ones that came.
    pub datagrams_received: u64,
    /// Datagrams that came again.
    pub datagrams_repeated: u64,
    /// TCP connections that broke, and how.
    pub broken: Vec<String>,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.blocks_sent += other.blocks_sent;
        self.blocks_received += other.blocks_received;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.datagrams_sent += other.datagrams_sent;
        self.datagrams_received += other.datagrams_received;
        self.datagrams_repeated += other.datagrams_repeated;
        self.broken.extend(other.broken);
    }
}

impl Outcome {
    /// Asserts that streams were carried, whole and in order, and that no datagram came twice.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_whole(&self) {
        assert!(self.broken.is_empty(), "{:?}", self.broken);
        assert!(self.blocks_sent > 0);
        assert_eq!(self.blocks_sent, self.blocks_received);
        assert_eq!(self.datagrams_repeated, 0);
    }

    /// The share of datagrams that did not come.
    #[must_use]
    pub fn datagram_loss(&self) -> f64 {
        1.0 - self.datagrams_received as f64 / self.datagrams_sent.max(1) as f64
    }
}

/// Two peers with a TCP connection between them.
#[derive(Debug)]
pub struct Pair {
    clients: [Client; 2],
    ends: Option<(TcpStream, TcpStream)>,
    _tasks: JoinSet<()>,
}

impl Pair {
    /// Attaches both, and connects.
    ///
    /// # Panics
    /// When one of them is not let in, or the connection does not come about.
    pub async fn connect(one: ClientConfig, other: ClientConfig) -> Self {
        let (one, other) = tokio::join!(Client::connect(one), Client::connect(other));
        let clients = [one.expect("the first is attached"), other.expect("the second is attached")];
        let [caller, service] = &clients;
        let name: ServiceName = "talk".parse().expect("a name");
        service.offer(name.clone(), Allow::Any);
        let (inner, inner_address) = listen().await;
        let (outer, outer_address) = listen().await;
        let mut tasks = JoinSet::new();
        let (exposed, forwarded) = (service.clone(), caller.clone());
        tasks.spawn(async move { tcp::expose(&exposed, inner_address).await });
        let peer = service.peer();
        tasks.spawn(async move { tcp::forward(&forwarded, outer, peer, &name).await });
        let connecting = async { tokio::join!(TcpStream::connect(outer_address), inner.accept()) };
        let (near, far) = tokio::time::timeout(Duration::from_secs(20), connecting)
            .await
            .expect("the connection comes about");
        let ends = Some((near.expect("forward accepts"), far.expect("expose connects").0));
        Self { clients, ends, _tasks: tasks }
    }

    /// How the two are.
    #[must_use]
    pub fn statuses(&self) -> [Status; 2] {
        self.clients.each_ref().map(Client::status)
    }

    /// The two clients.
    #[must_use]
    pub const fn clients(&self) -> &[Client; 2] {
        &self.clients
    }

    /// Talks until `stop`: once.
    ///
    /// # Panics
    /// When it has talked before.
    pub async fn talk(&mut self, offered: Offered, stop: watch::Receiver<bool>) -> Outcome {
        let ends = self.ends.take().expect("a pair talks once");
        let [one, other] = &self.clients;
        let (near, far) = (ends.0.into_split(), ends.1.into_split());
        let stream = converse(near, far, offered.bytes_per_second, stop.clone());
        let flow = Flow { every: offered.datagram_every, burst: 1, length: DATAGRAM };
        let (stream, there, back) = tokio::join!(
            stream,
            exchange(one, other, flow, stop.clone()),
            exchange(other, one, flow, stop),
        );
        let mut outcome = Outcome::default();
        match stream {
            Ok(directions) => directions.iter().for_each(|direction| outcome += direction.into()),
            Err(error) => outcome.broken.push(error.to_string()),
        }
        for exchanged in [there, back] {
            outcome += exchanged.expect("a route that opens").into();
        }
        outcome
    }

    /// Ends both.
    pub async fn close(self) {
        for client in self.clients {
            client.close().await;
        }
    }
}

impl From<&Direction> for Outcome {
    fn from(direction: &Direction) -> Self {
        Self {
            blocks_sent: direction.sent,
            blocks_received: direction.received,
            longest_stall: direction.gaps.longest(),
            ..Self::default()
        }
    }
}

impl From<Exchanged> for Outcome {
    fn from(Exchanged { sent, received }: Exchanged) -> Self {
        Self {
            datagrams_sent: sent,
            datagrams_received: received.count(),
            datagrams_repeated: received.duplicates(),
            ..Self::default()
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}
