//! A load balancer by 5-tuple on loopback, as a Service is one: a flow stays where its first packet went.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// A balancer; its flows end when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    forget: Arc<Notify>,
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
        let (targets, forget) = (Arc::new(Mutex::default()), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::new(front), targets.clone(), forget.clone()));
        Self { address, targets, forget, _tasks: tasks }
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

    /// Forgets all flows, as a router does that restarts: what clients send next comes from other ports, and what is under way
    /// to the old ones is lost. With one target, that is a new address for each client, and nothing else.
    pub fn forget(&self) {
        self.forget.notify_one();
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

async fn run(front: Arc<UdpSocket>, targets: Arc<Mutex<Vec<SocketAddr>>>, forget: Arc<Notify>) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            () = forget.notified() => {
                flows.clear();
                continue;
            }
            Some(_) = tasks.join_next() => continue,
            received = front.recv_from(&mut buffer) => received,
        };
        let Ok((length, client)) = received else { continue };
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
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let back = UdpSocket::bind(any).await.ok()?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Sends `payload` until it arrives, and gives from where.
    async fn arrives(client: &UdpSocket, server: &UdpSocket, payload: u8) -> SocketAddr {
        let mut buffer = [0; 1];
        let all = async {
            loop {
                client.send(&[payload]).await.unwrap();
                let wait =
                    tokio::time::timeout(Duration::from_millis(20), server.recv_from(&mut buffer));
                if let Ok(Ok((_, from))) = wait.await
                    && buffer == [payload]
                {
                    return from;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("it arrives")
    }

    #[tokio::test]
    async fn a_flow_that_is_forgotten_comes_from_another_port_and_has_answers_there() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let balancer = Balancer::start().await;
        balancer.add(server.local_addr().unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(balancer.address()).await.unwrap();
        let before = arrives(&client, &server, 1).await;
        assert_eq!(arrives(&client, &server, 2).await, before, "a flow stays as it is");
        balancer.forget();
        let all = async { while arrives(&client, &server, 3).await == before {} };
        tokio::time::timeout(PATIENCE, all).await.expect("another address");
        let after = arrives(&client, &server, 4).await;
        server.send_to(&[5], after).await.unwrap();
        let mut buffer = [0; 1];
        tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.expect("an answer").unwrap();
        assert_eq!(buffer, [5]);
    }
}
