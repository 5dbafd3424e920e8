//! Room in the kernel's buffer is waited for only when there is none.
//!
//! quinn keeps what waits for room, for each connection and as long as that lives, and asks it before each packet. There nearly
//! always is room: until there is none, [`Poller`] is nothing to keep, and a look at one flag to ask.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::{AsyncUdpSocket, UdpPoller};

/// What is known of the room that one socket has. See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// The kernel had no room for a packet, and has not said since that it has. It is set by whoever finds so and cleared by whoever is
    /// told otherwise: that may be another, and then the next packet finds out.
    is_full: Arc<AtomicBool>,
}

impl Room {
    /// Remembers whether a packet that was sent had room.
    pub(super) fn heed(&self, sent: io::Result<()>) -> io::Result<()> {
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Release);
        }
        sent
    }

    /// What waits for room at `socket`.
    pub(super) fn poller(&self, socket: Arc<dyn AsyncUdpSocket>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { room: self.clone(), socket, waiting: None })
    }
}

/// Waits for room.
struct Poller {
    room: Room,
    socket: Arc<dyn AsyncUdpSocket>,
    waiting: Option<Pin<Box<dyn UdpPoller>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { room, socket, waiting } = &mut *self;
        if waiting.is_none() && !room.is_full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let poller = waiting.get_or_insert_with(|| socket.clone().create_io_poller());
        let ready = ready!(poller.as_mut().poll_writable(context));
        room.is_full.store(false, Ordering::Release);
        *waiting = None;
        Poll::Ready(ready)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use quinn::udp::{RecvMeta, Transmit};

    use super::*;

    /// A socket whose buffer is full, or is not; and how many pollers it has made.
    #[derive(Debug, Default)]
    struct Fake {
        full: Arc<AtomicBool>,
        pollers: AtomicUsize,
    }

    #[derive(Debug)]
    struct FakePoller(Arc<AtomicBool>);

    impl UdpPoller for FakePoller {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.0.load(Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
    }

    impl AsyncUdpSocket for Fake {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            self.pollers.fetch_add(1, Ordering::Relaxed);
            Box::pin(FakePoller(self.full.clone()))
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }

    fn send(room: &Room, socket: &Fake) -> io::Result<()> {
        let destination = ([127, 0, 0, 1], 2).into();
        let contents = b"packet";
        room.heed(socket.try_send(&Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        }))
    }

    #[test]
    fn the_kernel_is_waited_for_only_when_it_is_full() {
        let (room, fake) = (Room::default(), Arc::new(Fake::default()));
        let mut pollers = [(); 3].map(|()| room.poller(fake.clone()));
        let mut context = Context::from_waker(Waker::noop());
        let mut is_ready = |pollers: &mut [Pin<Box<dyn UdpPoller>>]| {
            let mut ready = |poller: &mut Pin<Box<dyn UdpPoller>>| {
                poller.as_mut().poll_writable(&mut context).is_ready()
            };
            pollers.iter_mut().map(&mut ready).collect::<Vec<_>>()
        };
        send(&room, &fake).unwrap();
        assert_eq!(is_ready(&mut pollers), [true; 3]);
        assert_eq!(fake.pollers.load(Ordering::Relaxed), 0, "nothing to wait for");

        fake.full.store(true, Ordering::Relaxed);
        assert_eq!(is_ready(&mut pollers), [true; 3], "nobody knows yet");
        assert_eq!(send(&room, &fake).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(is_ready(&mut pollers), [false; 3]);

        fake.full.store(false, Ordering::Relaxed);
        assert_eq!(is_ready(&mut pollers[..1]), [true]);
        fake.full.store(true, Ordering::Relaxed);
        assert_eq!(is_ready(&mut pollers[1..]), [false; 2], "who waits asks the kernel itself");
        fake.full.store(false, Ordering::Relaxed);
        assert_eq!(is_ready(&mut pollers), [true; 3]);
        assert_eq!(fake.pollers.load(Ordering::Relaxed), 3, "each once");
    }
}
