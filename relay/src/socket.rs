//! UDP sockets with room for bursts, which count first packets.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};
use rustix::net::sockopt;
use tracing::debug;

use crate::sieve::{Arrivals, may_be_first};

/// What is asked of the kernel for each direction. One thread reads for all sessions: what comes while it is busy waits here,
/// and the usual 208 KiB are some 160 full packets.
const BUFFER: usize = 4 * 1024 * 1024;

/// Binds a socket, with buffers as large as the kernel gives: it caps them (`net.core.rmem_max`, `wmem_max`), and says nothing.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    if let Err(error) = sockopt::set_socket_recv_buffer_size(&socket, BUFFER) {
        debug!(%error, "the receive buffer stays as it is");
    }
    if let Err(error) = sockopt::set_socket_send_buffer_size(&socket, BUFFER) {
        debug!(%error, "the send buffer stays as it is");
    }
    Ok(socket)
}

/// A socket that counts the first packets that come.
pub(crate) struct Counting {
    socket: Arc<dyn AsyncUdpSocket>,
    arrivals: Arc<Arrivals>,
}

impl Counting {
    pub(crate) fn new(socket: UdpSocket, arrivals: Arc<Arrivals>) -> io::Result<Self> {
        Ok(Self { socket: TokioRuntime.wrap_udp_socket(socket)?, arrivals })
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").field("arrivals", &self.arrivals).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Counting {
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
        let received = ready!(self.socket.poll_recv(context, buffers, meta))?;
        let batches = meta.iter().zip(buffers.iter()).take(received);
        let packets =
            batches.flat_map(|(meta, buffer)| buffer[..meta.len].chunks(meta.stride.max(1)));
        match packets.filter(|packet| may_be_first(packet)).count() {
            0 => {}
            count => self.arrivals.add(count as u64),
        }
        Poll::Ready(Ok(received))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_at_least_the_buffers_that_it_would_have_had() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (plain, ours) = (UdpSocket::bind(any).unwrap(), bind(any).unwrap());
        let sizes = |socket| {
            let receive = sockopt::socket_recv_buffer_size(socket).unwrap();
            (receive, sockopt::socket_send_buffer_size(socket).unwrap())
        };
        let (before, after) = (sizes(&plain), sizes(&ours));
        assert!(after.0 >= before.0 && after.1 >= before.1, "{before:?} -> {after:?}");
    }
}
