//! Handshakes that are begun and never made.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::counts::Counts;
use crate::field::{Field, local};
use crate::initial::{Forge, LENGTH, retry_token};

/// First flights that are made before any is sent, and sent again and again: a relay that answers Retry remembers none.
const MADE: usize = 2048;

/// Addresses that they come from.
const SOCKETS: usize = 32;

/// So many are sent until others have their turn.
const AT_ONCE: usize = 64;

/// Of those that are begun and given up, in a second: more than a relay takes, and each is made for itself.
const BEGUN: f64 = 10_000.0;

/// A Retry's token is good for 15 s (quinn's default).
const RENEW_TOKEN: Duration = Duration::from_secs(10);

pub(super) async fn first_packets(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let forge = Forge::new(&field.told().server_name)?;
    let flights: Vec<_> =
        (0..MADE).map(|_| forge.flight(&field.random(), b"", false)).collect::<Result<_, _>>()?;
    let sockets: Vec<_> = (0..SOCKETS).map(|_| Socket::open()).collect::<Result<_, _>>()?;
    let mut pairs = sockets.iter().cycle().zip(flights.iter().cycle());
    loop {
        let mut sent = 0;
        for (socket, flight) in pairs.by_ref().take(AT_ONCE) {
            sent += u64::from(socket.send(field, flight));
        }
        counts.add("sent", sent);
        tokio::task::yield_now().await;
    }
}

pub(super) async fn begun(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let forge = Forge::new(&field.told().server_name)?;
    let mut socket = Socket::open()?;
    let mut token: Option<(Vec<u8>, Instant)> = None;
    let (start, mut made) = (Instant::now(), 0.0);
    loop {
        let known = token.as_ref().filter(|(_, at)| at.elapsed() < RENEW_TOKEN);
        let known = known.map_or(&b""[..], |(token, _)| token);
        let name = if known.is_empty() { "sent without a token" } else { "sent" };
        while made < start.elapsed().as_secs_f64() * BEGUN {
            made += 1.0;
            let flight = forge.flight(&field.random(), known, true)?;
            counts.add(name, u64::from(socket.send(field, &flight)));
        }
        socket.answers(|packet| {
            if let Some(found) = retry_token(packet) {
                counts.one("retries");
                token = Some((found, Instant::now()));
            } else {
                counts.one("answers");
            }
        })?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A socket for packets that are made by hand.
struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<Vec<u8>>,
}

impl Socket {
    fn open() -> io::Result<Self> {
        let socket = UdpSocket::bind(local())?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state, buffers: vec![vec![0; 64 * 1024]; BATCH_SIZE] })
    }

    /// Whether it went out.
    fn send(&self, field: &Field, contents: &[u8]) -> bool {
        let destination = field.told().relay;
        let segment_size = (contents.len() > LENGTH).then_some(LENGTH);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit).is_ok()
    }

    /// What has come.
    fn answers(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices: Vec<_> =
                self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let count =
                match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                };
            for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
                buffer[..meta.len].chunks(meta.stride.max(1)).for_each(&mut take);
            }
        }
    }
}
