//! A load balancer by 5-tuple on loopback, as a Service is one: a flow stays where its first packet went. It is a NAT as well,
//! which can forget its mappings, and it can lose a relay.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::sockopt;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// What waits in the kernel for this task, in bytes: it has its turn among all clients of a load.
const WAITING: usize = 4 * 1024 * 1024;

/// A balancer; its flows end when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Where new flows may go.
    targets: Vec<Target>,
    /// How often the mappings were forgotten.
    binding: u64,
}

#[derive(Debug, Clone)]
struct Target {
    address: SocketAddr,
    /// Nothing goes there, and nothing comes from there.
    cut: Arc<AtomicBool>,
}

impl Balancer {
    /// A balancer without targets.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start() -> Self {
        let front = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
        let address = front.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::new(front), state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Where clients come in.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// New flows may go there.
    pub fn add(&self, target: SocketAddr) {
        self.lock().targets.push(Target { address: target, cut: Arc::default() });
    }

    /// No more flows go there. Those that do stay.
    pub fn remove(&self, target: SocketAddr) {
        self.lock().targets.retain(|known| known.address != target);
    }

    /// As if that machine had lost its power: its flows fall silent, in both directions, and no more go there.
    pub fn cut(&self, target: SocketAddr) {
        self.lock().targets.retain(|known| {
            let meant = known.address == target;
            if meant {
                known.cut.store(true, Ordering::Relaxed);
            }
            !meant
        });
    }

    /// As a NAT that forgets its mappings: from its next packet on each flow comes to its relay from another port. What the
    /// relay still sends to the old one is lost.
    pub fn rebind(&self) {
        self.lock().binding += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A socket with room for bursts.
async fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).await?;
    sockopt::set_socket_recv_buffer_size(&socket, WAITING)?;
    Ok(socket)
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One flow: its socket towards its relay, and the task that brings the answers back.
struct Flow {
    target: Target,
    binding: u64,
    back: Arc<UdpSocket>,
    answers: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn run(front: Arc<UdpSocket>, state: Arc<Mutex<State>>) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            // Of flows that were opened again.
            Some(_) = tasks.join_next() => continue,
            received = front.recv_from(&mut buffer) => received,
        };
        let Ok((length, client)) = received else { continue };
        let binding = lock(&state).binding;
        let known = flows.get(&client);
        if known.is_none_or(|flow| flow.binding != binding) {
            let target = known.map(|flow| flow.target.clone()).or_else(|| choose(&state));
            let Some(target) = target else { continue };
            let Some(flow) = open(&front, target, binding, client, &mut tasks).await else {
                continue;
            };
            flows.insert(client, flow);
        }
        let Some(flow) = flows.get(&client) else { continue };
        if !flow.target.cut.load(Ordering::Relaxed) {
            // A relay that is gone answers by ICMP: the flow is as dead as its relay.
            let _ = flow.back.send(&buffer[..length]).await;
        }
    }
}

/// One of the targets; none if there is none.
fn choose(state: &Mutex<State>) -> Option<Target> {
    let state = lock(state);
    let chosen = rand::random_range(..state.targets.len().max(1));
    state.targets.get(chosen).cloned()
}

async fn open(
    front: &Arc<UdpSocket>,
    target: Target,
    binding: u64,
    client: SocketAddr,
    tasks: &mut JoinSet<()>,
) -> Option<Flow> {
    let any: SocketAddr = match target.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let back = bind(any).await.ok()?;
    back.connect(target.address).await.ok()?;
    let back = Arc::new(back);
    let answers = tasks.spawn(answer(back.clone(), front.clone(), client, target.cut.clone()));
    Some(Flow { target, binding, back, answers })
}

async fn answer(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if let Ok(length) = back.recv(&mut buffer).await {
            if !cut.load(Ordering::Relaxed) {
                let _ = front.send_to(&buffer[..length], client).await;
            }
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
        balancer.rebind();
        let all = async { while arrives(&client, &server, 3).await == before {} };
        tokio::time::timeout(PATIENCE, all).await.expect("another address");
        let after = arrives(&client, &server, 4).await;
        server.send_to(&[5], after).await.unwrap();
        let mut buffer = [0; 1];
        tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.expect("an answer").unwrap();
        assert_eq!(buffer, [5]);
    }
}
