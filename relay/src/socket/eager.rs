//! The socket is read for longer at a time than quinn would.
//!
//! quinn's endpoint reads for 50 us, or with one system call, and then lets all others have a turn. Where they take milliseconds,
//! as when somebody sends thousands of datagrams in a few packets, less is read than comes: the kernel's buffer fills up and
//! overflows, and all sessions wait and lose, because it is the same for all. To read is cheap, and what was read waits for its
//! session alone. So the endpoint has several turns in a row, as long as there is something to read.

use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// So many turns: 256 packets at least, or 400 us.
const IN_A_ROW: usize = 8;

/// Whether a socket was found empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Emptied(Arc<AtomicBool>);

impl Emptied {
    /// A look at the socket found something, or nothing.
    pub(super) fn found<T>(&self, found: &Poll<T>) {
        self.0.store(found.is_pending(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tokio, for one endpoint whose socket says what it finds. See the [module](self).
#[derive(Debug)]
pub(crate) struct EagerRuntime {
    emptied: Emptied,
    /// Spawned by the endpoint when it is made, before there are connections.
    has_endpoint: AtomicBool,
}

impl EagerRuntime {
    pub(super) const fn new(emptied: Emptied) -> Self {
        Self { emptied, has_endpoint: AtomicBool::new(false) }
    }
}

impl Runtime for EagerRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, mut future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if self.has_endpoint.swap(true, Ordering::Relaxed) {
            return TokioRuntime.spawn(future);
        }
        let emptied = self.emptied.clone();
        TokioRuntime.spawn(Box::pin(std::future::poll_fn(move |context| {
            let mut polled = future.as_mut().poll(context);
            for _ in 1..IN_A_ROW {
                if polled.is_ready() || emptied.get() {
                    break;
                }
                polled = future.as_mut().poll(context);
            }
            polled
        })));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;
    use std::task::Context;
    use std::time::Duration;

    use quinn::udp::{RecvMeta, Transmit};
    use quinn::{Endpoint, EndpointConfig, UdpPoller};

    use super::*;
    use crate::arrivals::receivers_first;

    const PACKETS: usize = 64;

    /// A socket in which so many packets wait. Each takes longer than quinn reads at a time.
    #[derive(Debug)]
    struct Slow {
        left: AtomicUsize,
        emptied: Emptied,
    }

    impl AsyncUdpSocket for Slow {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            panic!("nothing is sent");
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            panic!("nothing is sent");
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let left = self.left.load(Ordering::Relaxed);
            let received = if left == 0 { Poll::Pending } else { Poll::Ready(Ok(1)) };
            self.emptied.found(&received);
            if received.is_ready() {
                self.left.store(left - 1, Ordering::Relaxed);
                let since = Instant::now();
                while since.elapsed() < Duration::from_micros(60) {}
                buffers[0][0] = 0;
                meta[0] = RecvMeta { len: 1, stride: 1, ..RecvMeta::default() };
            }
            received
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }

    /// How many passes, in each of which every task that is ready has one turn, it takes to read them.
    async fn passes(runtime: impl FnOnce(Emptied) -> Arc<dyn Runtime>) -> usize {
        let emptied = Emptied::default();
        let socket = Arc::new(Slow { left: PACKETS.into(), emptied: emptied.clone() });
        let (config, shared, runtime) =
            (EndpointConfig::default(), socket.clone(), runtime(emptied));
        let _endpoint = Endpoint::new_with_abstract_socket(config, None, shared, runtime).unwrap();
        // A task like others: what a test itself does has its turns by other rules.
        let counting = tokio::spawn(async move {
            let mut passes = 0;
            while socket.left.load(Ordering::Relaxed) > 0 {
                receivers_first().await;
                passes += 1;
            }
            passes
        });
        counting.await.unwrap()
    }

    #[tokio::test]
    async fn what_waits_is_read_in_fewer_turns_than_quinn_would_take() {
        let quinn = passes(|_| Arc::new(TokioRuntime)).await;
        let eager = passes(|emptied| Arc::new(EagerRuntime::new(emptied))).await;
        assert!(quinn >= PACKETS / 2, "quinn reads more at a time: {quinn} passes");
        assert!(eager <= PACKETS / IN_A_ROW + 1, "{eager} passes");
    }
}
