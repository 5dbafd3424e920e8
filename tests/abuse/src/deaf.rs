//! A socket that can be made deaf: whatever comes is thrown away, and so is never acknowledged. What it says gets out.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};

use crate::field::local;

/// See the [module](self).
pub(crate) struct DeafSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    is_deaf: AtomicBool,
}

impl DeafSocket {
    /// One that hears, for now.
    pub(crate) fn bind() -> io::Result<Arc<Self>> {
        let socket = TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(local())?)?;
        Ok(Arc::new(Self { socket, is_deaf: AtomicBool::new(false) }))
    }

    /// From now on it hears nothing.
    pub(crate) fn deafen(&self) {
        self.is_deaf.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for DeafSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeafSocket").field("is_deaf", &self.is_deaf).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for DeafSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = ready!(self.socket.poll_recv(context, buffers, meta))?;
            if !self.is_deaf.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
