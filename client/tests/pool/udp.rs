//! A way to a relay that can be cut: what is sent vanishes, as with a machine that lost its power.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Forwards datagrams between clients and one address, until it is cut.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// The longest datagram that gets through to the relay, and from it.
    widths: Arc<[AtomicUsize; 2]>,
    _tasks: JoinSet<()>,
}

impl Way {
    pub(crate) async fn to(relay: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let widths = Arc::new([usize::MAX; 2].map(AtomicUsize::new));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(front, relay, cut.clone(), widths.clone()));
        Self { address, cut, widths, _tasks: tasks }
    }

    /// Lets nothing longer through, in one direction: 0 is to the relay, 1 from it.
    pub(crate) fn narrow(&self, direction: usize, width: usize) {
        self.widths[direction].store(width, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

type Widths = Arc<[AtomicUsize; 2]>;

async fn forward(front: Arc<UdpSocket>, relay: SocketAddr, cut: Arc<AtomicBool>, widths: Widths) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        if let Entry::Vacant(place) = backs.entry(client) {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            back.connect(relay).await.unwrap();
            place.insert(back.clone());
            tasks.spawn(answers(back, front.clone(), client, cut.clone(), widths.clone()));
        }
        if !cut.load(Ordering::Relaxed) && length <= widths[0].load(Ordering::Relaxed) {
            let _ = backs[&client].send(&buffer[..length]).await;
        }
    }
}

async fn answers(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    cut: Arc<AtomicBool>,
    widths: Widths,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length) = back.recv(&mut buffer).await else { continue };
        if !cut.load(Ordering::Relaxed) && length <= widths[1].load(Ordering::Relaxed) {
            let _ = front.send_to(&buffer[..length], client).await;
        }
    }
}
