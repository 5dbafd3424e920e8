//! The socket that clients send to: it answers probes by itself, counts first packets, and shows an address of IPv4 as that.
//!
//! A socket of IPv6 that takes both shows 192.0.2.1 as `::ffff:192.0.2.1`. To quinn that is an address of IPv6, and a client whose
//! NAT gives it another port is one on another path, of which nothing is known: neither round trip nor window nor MTU. Of an equal
//! address of IPv4 it keeps them.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use baton_protocol::path::probe::LENGTH;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::eager::{EagerRuntime, Emptied};
use super::room::Room;
use crate::paths::Responder;
use crate::sieve::{Arrivals, may_be_first};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct PublicSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// It is one of IPv6.
    is_v6: bool,
    responder: Responder,
    arrivals: Arc<Arrivals>,
    room: Room,
    emptied: Emptied,
}

impl PublicSocket {
    pub(crate) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        responder: Responder,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        let is_v6 = inner.local_addr().is_ok_and(|address| address.is_ipv6());
        Self {
            inner,
            is_v6,
            responder,
            arrivals,
            room: Room::default(),
            emptied: Emptied::default(),
        }
    }

    /// What an endpoint on it runs on.
    pub(crate) fn runtime(&self) -> EagerRuntime {
        EagerRuntime::new(self.emptied.clone())
    }

    /// Looks at what came from one address at one time: one packet, or several of one size, of which the last may be shorter.
    fn look(&self, packets: &mut [u8], meta: &RecvMeta) {
        let mut first = 0;
        for packet in packets.chunks_mut(meta.stride.max(1)) {
            // Mostly these two are all: a packet has a short header, and another size.
            if may_be_first(packet) {
                first += 1;
            } else if packet.len() == LENGTH {
                self.take(packet, meta);
            }
        }
        if first > 0 {
            self.arrivals.add(first);
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
        let _ = self.try_send(&transmit);
    }
}

impl AsyncUdpSocket for PublicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.room.poller(self.inner.clone())
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = match transmit.destination {
            SocketAddr::V4(to) if self.is_v6 => {
                let destination = (to.ip().to_ipv6_mapped(), to.port()).into();
                let Transmit { ecn, contents, segment_size, src_ip, .. } = *transmit;
                self.inner.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip })
            }
            _ => self.inner.try_send(transmit),
        };
        self.room.heed(sent)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, buffers, meta);
        self.emptied.found(&received);
        let count = ready!(received)?;
        for (buffer, meta) in buffers.iter_mut().zip(&mut *meta).take(count) {
            let length = meta.len.min(buffer.len());
            if self.is_v6 {
                meta.addr = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            }
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::UdpSocket;

    use baton_protocol::id::RelayId;
    use quinn::{Runtime as _, TokioRuntime};

    use super::*;
    use crate::directory::Directory;
    use crate::metrics::Metrics;
    use crate::paths::ProbeKey;

    fn socket(address: &str) -> Arc<PublicSocket> {
        let me = RelayId::from_u32(1);
        let metrics = Arc::<Metrics>::default();
        let directory = Arc::new(Directory::new(me, 1, metrics.clone()));
        let key = Arc::new(ProbeKey::new(me, [7; 16]));
        let responder = Responder::new(key, directory, metrics, Instant::now());
        let socket = UdpSocket::bind(address).unwrap();
        let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
        Arc::new(PublicSocket::new(socket, responder, Arc::default()))
    }

    #[tokio::test]
    async fn an_address_of_ipv4_is_one_whatever_the_socket() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let socket = socket(address);
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            let port = socket.local_addr().unwrap().port();
            client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
            let mut bytes = [0; 2048];
            let mut meta = [RecvMeta::default()];
            let count = poll_fn(|context| {
                let mut buffers = [IoSliceMut::new(&mut bytes)];
                socket.poll_recv(context, &mut buffers, &mut meta)
            });
            assert_eq!(count.await.unwrap(), 1);
            assert!(!socket.emptied.get());
            let [RecvMeta { addr, dst_ip, .. }] = meta;
            assert_eq!(addr, client.local_addr().unwrap(), "seen by {address}");
            let answer = Transmit {
                destination: addr,
                ecn: None,
                contents: b"good day",
                segment_size: None,
                src_ip: dst_ip,
            };
            socket.try_send(&answer).unwrap();
            let none = poll_fn(|context| {
                let mut buffers = [IoSliceMut::new(&mut [])];
                Poll::Ready(socket.poll_recv(context, &mut buffers, &mut meta).is_pending())
            });
            assert!(none.await && socket.emptied.get());
            let (length, from) = client.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from.port()), (&b"good day"[..], port));
        }
    }
}
