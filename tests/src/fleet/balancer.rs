//! A load balancer by 5-tuple on loopback, as a Service is one: a flow stays where its first packet went.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// A balancer; its flows end when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// A balancer without targets.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start() -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = front.local_addr().expect("an address");
        let targets = Arc::new(Mutex::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::new(front), targets.clone()));
        Self { address, targets, _tasks: tasks }
    }

    /// Where clients come in.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// New flows may go there.
    pub fn add(&self, target: SocketAddr) {
        self.lock().push(target);
    }

    /// No more flows go there. Those that do stay.
    pub fn remove(&self, target: SocketAddr) {
        self.lock().retain(|known| *known != target);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One flow: its socket towards its relay, and the task that brings the answers back.
struct Flow {
    back: Arc<UdpSocket>,
    answers: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn run(front: Arc<UdpSocket>, targets: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        let flow = match flows.entry(client) {
            Entry::Occupied(flow) => flow.into_mut(),
            Entry::Vacant(new) => match open(&front, &targets, client, &mut tasks).await {
                Some(flow) => new.insert(flow),
                None => continue,
            },
        };
        // A relay that is gone answers by ICMP: the flow is as dead as its relay.
        let _ = flow.back.send(&buffer[..length]).await;
    }
}

/// A flow to one of the targets; none if there is no target.
async fn open(
    front: &Arc<UdpSocket>,
    targets: &Mutex<Vec<SocketAddr>>,
    client: SocketAddr,
    tasks: &mut JoinSet<()>,
) -> Option<Flow> {
    let target = {
        let targets = targets.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = rand::random_range(..targets.len().max(1));
        *targets.get(chosen)?
    };
    let back = UdpSocket::bind("127.0.0.1:0").await.ok()?;
    back.connect(target).await.ok()?;
    let back = Arc::new(back);
    let answers = tasks.spawn(answer(back.clone(), front.clone(), client));
    Some(Flow { back, answers })
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if let Ok(length) = back.recv(&mut buffer).await {
            let _ = front.send_to(&buffer[..length], client).await;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
