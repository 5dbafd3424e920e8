//! The floor: a forwarder of raw UDP, with all that the kernel offers (recvmmsg, GRO, GSO), and without any protocol.
//!
//! A sender says which pair it belongs to (`PAIR` and a number), and is answered with the same; what it sends from then on
//! goes to the pair's other one.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What the first datagram of a sender begins with.
pub(crate) const JOIN: &[u8; 4] = b"PAIR";

/// The length of that datagram: a number follows.
pub(crate) const JOIN_LENGTH: usize = JOIN.len() + 8;

/// As large as relays' buffers.
const BUFFER: usize = 4 << 20;

/// A whole batch of segments.
const SEGMENTS: usize = 64 * 1024;

/// A socket for many segments at a time.
#[derive(Debug)]
pub(crate) struct Batched {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Batched {
    pub(crate) async fn bind() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The kernel caps them, and that is as it is for relays too.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER);
        Ok(Self { socket, state })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for datagrams, and hands each batch of one sender's over: the sender, the bytes, the length of each datagram.
    pub(crate) async fn receive(
        &self,
        buffers: &mut [Vec<u8>],
        mut take: impl FnMut(SocketAddr, &[u8], usize),
    ) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = loop {
            self.socket.readable().await?;
            let mut slices: Vec<_> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
            });
            match received {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
            take(meta.addr, &buffer[..meta.len], meta.stride.max(1));
        }
        Ok(())
    }

    /// Sends datagrams of `stride` bytes, of which the last may be shorter. What finds no room is lost.
    pub(crate) fn send(&self, destination: SocketAddr, contents: &[u8], stride: usize) {
        let segment_size = (contents.len() > stride).then_some(stride);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        let _ = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
    }
}

/// Buffers for [`Batched::receive`].
pub(crate) fn buffers() -> Vec<Vec<u8>> {
    vec![vec![0; SEGMENTS]; BATCH_SIZE]
}

/// Forwards until it is killed. Says where it listens.
#[expect(clippy::print_stdout, reason = "the one who started it reads it")]
pub(crate) async fn run() -> anyhow::Result<()> {
    let socket = Batched::bind().await?;
    println!("{}", socket.local_addr()?);
    let mut pairs: HashMap<[u8; 8], SocketAddr> = HashMap::new();
    let mut partners: HashMap<SocketAddr, SocketAddr> = HashMap::new();
    let mut buffers = buffers();
    loop {
        socket
            .receive(&mut buffers, |from, bytes, stride| {
                if let Some(partner) = partners.get(&from) {
                    // One that repeats its JOIN has not heard its answer.
                    let to = if bytes.len() == JOIN_LENGTH { &from } else { partner };
                    return socket.send(*to, bytes, stride);
                }
                let Some(number) = bytes.strip_prefix(JOIN).and_then(|rest| rest.first_chunk())
                else {
                    return;
                };
                match pairs.get(number) {
                    Some(other) if *other != from => {
                        partners.insert(from, *other);
                        partners.insert(*other, from);
                    }
                    _ => {
                        pairs.insert(*number, from);
                    }
                }
                socket.send(from, bytes, stride);
            })
            .await?;
    }
}
