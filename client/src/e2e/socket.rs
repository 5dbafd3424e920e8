//! The inner endpoint's network: a socket whose packets are datagrams on routes.
//!
//! It has no idea of relays and sessions: a packet to a peer goes by whatever route there is. When there is none, or the way
//! is full, the endpoint waits (as for a full socket buffer) instead of losing what it sends.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::address::Addresses;
use crate::inbound::Inbound;
use crate::routes::Routes;

/// See the [module](self).
pub(crate) struct RelayedSocket {
    pub(crate) routes: Arc<Routes>,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) addresses: Arc<Addresses>,
}

impl fmt::Debug for RelayedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayedSocket")
    }
}

impl AsyncUdpSocket for RelayedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self.routes.clone()))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // An address that stands for nobody (any more): the packet is lost, as on any network.
        let Some(peer) = self.addresses.peer(transmit.destination) else { return Ok(()) };
        let sent = self.routes.send_inner(peer, transmit.contents, Instant::now());
        sent.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let limit = bufs.len().min(meta.len());
        let packets = ready!(self.inbound.poll_inner(cx, limit));
        let count = packets.len();
        for (((peer, packet), buf), meta) in packets.into_iter().zip(bufs).zip(meta) {
            // A packet that is longer than any of ours is cut, and then no packet to QUIC.
            let length = packet.len().min(buf.len());
            buf[..length].copy_from_slice(&packet[..length]);
            *meta = RecvMeta {
                addr: self.addresses.of(peer),
                len: length,
                stride: length,
                ecn: None,
                dst_ip: None,
            };
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv6Addr::LOCALHOST, 1).into())
    }
}

#[derive(Debug)]
struct Poller(Arc<Routes>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked before every packet, so whoever need not wait is not registered, and not woken for nothing.
        if self.0.can_send() {
            return Poll::Ready(Ok(()));
        }
        // First the registration, then the question again: room that is made in between wakes us.
        self.0.room.wait(cx.waker());
        if self.0.can_send() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}
