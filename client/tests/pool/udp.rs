//! A way to a relay that can be cut: what is sent vanishes, as with a machine that lost its power.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards datagrams between clients and one address, until it is cut.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    rebinds: Arc<AtomicUsize>,
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
        let rebinds = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(front, relay, cut.clone(), rebinds.clone(), widths.clone()));
        Self { address, cut, rebinds, widths, _tasks: tasks }
    }

    /// Lets nothing longer through, in one direction: 0 is to the relay, 1 from it.
    pub(crate) fn narrow(&self, direction: usize, width: usize) {
        self.widths[direction].store(width, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// From the next packet on the relay sees each client at another port; what it sends to the old one is lost.
    pub(crate) fn rebind(&self) {
        self.rebinds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

type Widths = Arc<[AtomicUsize; 2]>;

async fn forward(
    front: Arc<UdpSocket>,
    relay: SocketAddr,
    cut: Arc<AtomicBool>,
    rebinds: Arc<AtomicUsize>,
    widths: Widths,
) {
    let mut backs: HashMap<SocketAddr, (Arc<UdpSocket>, usize, AbortHandle)> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        let binding = rebinds.load(Ordering::Relaxed);
        if backs.get(&client).is_none_or(|(_, known, _)| *known != binding) {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            back.connect(relay).await.unwrap();
            let answers = answers(back.clone(), front.clone(), client, cut.clone(), widths.clone());
            let answers = tasks.spawn(answers);
            if let Some((_, _, old)) = backs.insert(client, (back, binding, answers)) {
                old.abort();
            }
        }
        if !cut.load(Ordering::Relaxed) && length <= widths[0].load(Ordering::Relaxed) {
            let _ = backs[&client].0.send(&buffer[..length]).await;
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
