//! A UDP socket of QUIC's that answers probes by itself.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use baton_protocol::path::probe::LENGTH;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::Responder;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ProbedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    responder: Responder,
}

impl ProbedSocket {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, responder: Responder) -> Self {
        Self { inner, responder }
    }

    /// Looks at what came from one address at one time: one packet, or several of one size, of which the last may be shorter.
    fn look(&self, packets: &mut [u8], meta: &RecvMeta) {
        if meta.stride < LENGTH {
            return;
        }
        for packet in packets.chunks_mut(meta.stride) {
            // Mostly this is all: a packet has another size.
            if packet.len() == LENGTH {
                self.take(packet, meta);
            }
        }
    }

    fn take(&self, packet: &mut [u8], meta: &RecvMeta) {
        let Some(answer) = self.responder.answer(packet, meta.addr, Instant::now()) else { return };
        // Without the fixed bit it is no packet of QUIC: it is dropped (RFC 9000 section 17.2).
        packet[0] = 0;
        let Some(answer) = answer else { return };
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: &answer,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        // What cannot be sent now is lost, as on any network: the client tries again.
        let _ = self.inner.try_send(&transmit);
    }
}

impl AsyncUdpSocket for ProbedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, buffers, meta))?;
        for (buffer, meta) in buffers.iter_mut().zip(&*meta).take(count) {
            let length = meta.len.min(buffer.len());
            self.look(&mut buffer[..length], meta);
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
