//! A way to a relay with a bar: it is shut after so many of the relay's datagrams, or holds them until it is lifted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// See the [module](self).
pub(crate) struct Toll {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Datagrams of the relay's that came this far.
    came: usize,
    /// The last of them that gets through; what clients send gets through until then.
    last: Option<usize>,
    /// They wait.
    held: bool,
}

impl State {
    fn is_shut(self) -> bool {
        self.last.is_some_and(|last| self.came >= last)
    }
}

impl Toll {
    /// Nothing gets through in either direction once so many of the relay's datagrams did.
    pub(crate) async fn shut_after(relay: SocketAddr, last: Option<usize>) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let (state, _) = watch::channel(State { last, ..State::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(there(front, relay, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Waits until so many of the relay's datagrams came.
    pub(crate) async fn came(&self, count: usize) {
        self.state.subscribe().wait_for(|state| state.came >= count).await.unwrap();
    }

    /// What the relay sends waits here from now on, or does no more.
    pub(crate) fn hold(&self, held: bool) {
        self.state.send_modify(|state| state.held = held);
    }
}

async fn there(front: Arc<UdpSocket>, relay: SocketAddr, state: watch::Sender<State>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        let back = match backs.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(relay).await.unwrap();
                tasks.spawn(answers(back.clone(), front.clone(), client, state.clone()));
                unknown.insert(back)
            }
        };
        if !state.borrow().is_shut() {
            let _ = back.send(&buffer[..length]).await;
        }
    }
}

async fn answers(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    state: watch::Sender<State>,
) {
    let mut buffer = vec![0; 65_536];
    let mut lifted = state.subscribe();
    loop {
        let Ok(length) = back.recv(&mut buffer).await else { continue };
        lifted.wait_for(|state| !state.held).await.unwrap();
        let shut = state.borrow().is_shut();
        if !shut {
            let _ = front.send_to(&buffer[..length], client).await;
        }
        // Told after it was sent: whoever waits for the last one finds it on its way.
        state.send_modify(|state| state.came += 1);
    }
}
