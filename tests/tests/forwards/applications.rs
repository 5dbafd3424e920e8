//! What people put through a forward, in small: something like rsync on TCP, and something like WireGuard on UDP.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Like rsync: the receiver asks for one file after the other and does not wait for the first before it asks for the tenth;
/// the sender answers in that order, small ones and long ones. At the end each side ends its direction, and both must be whole.
pub(crate) mod rsync {
    use super::*;

    /// Requests under way.
    const AHEAD: usize = 10;

    /// The length of a file: mostly small, some long.
    fn length(number: u64) -> usize {
        if number.is_multiple_of(16) { 2_000_000 } else { (number * 7919 % 40_000) as usize }
    }

    fn content(number: u64) -> Vec<u8> {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(byte).take(length(number)).collect()
    }

    /// The sender: answers each request with its length and its content.
    pub(crate) async fn serve(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        loop {
            match stream.read_exact(&mut request).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => panic!("the sender's connection broke: {error}"),
            }
            let content = content(u64::from_be_bytes(request));
            stream.write_all(&(content.len() as u64).to_be_bytes()).await.unwrap();
            stream.write_all(&content).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    }

    /// The receiver: asks until it is told to stop. Gives files and bytes.
    pub(crate) async fn fetch(
        address: &str,
        stop: tokio::sync::watch::Receiver<bool>,
    ) -> (u64, u64) {
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let (asked, mut expected) = tokio::sync::mpsc::channel(AHEAD);
        let asking = tokio::spawn(async move {
            ask(&mut write, asked, stop).await;
            write
        });
        let (mut files, mut bytes) = (0, 0);
        while let Some(number) = expected.recv().await {
            bytes += take(&mut read, number).await;
            files += 1;
        }
        assert_eq!(read.read(&mut [0]).await.unwrap(), 0, "nothing comes after the end");
        drop(asking.await.unwrap());
        (files, bytes)
    }

    async fn ask(
        write: &mut OwnedWriteHalf,
        asked: tokio::sync::mpsc::Sender<u64>,
        stop: tokio::sync::watch::Receiver<bool>,
    ) {
        for number in 0.. {
            if *stop.borrow() {
                break;
            }
            asked.send(number).await.unwrap();
            write.write_all(&number.to_be_bytes()).await.unwrap();
        }
        write.shutdown().await.unwrap();
    }

    async fn take(read: &mut OwnedReadHalf, number: u64) -> u64 {
        let length = read.read_u64().await.unwrap();
        let mut came = vec![0; usize::try_from(length).unwrap()];
        read.read_exact(&mut came).await.unwrap();
        assert!(came == content(number), "file {number} is lost, out of order or damaged");
        length
    }
}

/// Like WireGuard: both ends send numbered packets of a tunnel's sizes all the time, whatever the other does.
pub(crate) mod wireguard {
    use super::*;

    /// A full packet of a tunnel with an MTU of 1420 (32 bytes around 1420), a small one, a handshake, a keep-alive.
    const LENGTHS: [usize; 4] = [1452, 96, 148, 32];

    const EVERY: Duration = Duration::from_millis(5);

    /// What is under way at the end comes within this.
    const REST: Duration = Duration::from_secs(1);

    /// What one end saw.
    #[derive(Debug, Default)]
    pub(crate) struct Seen {
        pub(crate) sent: u64,
        pub(crate) came: u64,
        pub(crate) repeated: u64,
        pub(crate) longest_gap: Duration,
    }

    fn packet(number: u64) -> Vec<u8> {
        let mut packet = vec![number as u8; LENGTHS[(number % 4) as usize]];
        packet[..8].copy_from_slice(&number.to_be_bytes());
        packet
    }

    /// One end. `to` is where it sends first; without it, it answers to where packets come from, as a tunnel's passive end.
    pub(crate) async fn talk(
        socket: UdpSocket,
        to: Option<&str>,
        stop: tokio::sync::watch::Receiver<bool>,
    ) -> Seen {
        let mut seen = Seen::default();
        let mut to = to.map(|to| to.parse().unwrap());
        let mut known = std::collections::BTreeSet::new();
        let mut buffer = vec![0; 65_536];
        let mut tick = tokio::time::interval(EVERY);
        let mut last: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let stopped = *stop.borrow();
                    if stopped && last.is_none_or(|last| last.elapsed() > REST) {
                        return seen;
                    }
                    if let (Some(to), false) = (to, stopped) {
                        socket.send_to(&packet(seen.sent), to).await.unwrap();
                        seen.sent += 1;
                    }
                }
                received = socket.recv_from(&mut buffer) => {
                    let (length, from) = received.unwrap();
                    to = Some(from);
                    let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
                    assert!(buffer[..length] == packet(number), "packet {number} is damaged");
                    if let Some(last) = last {
                        seen.longest_gap = seen.longest_gap.max(last.elapsed());
                    }
                    last = Some(Instant::now());
                    if known.insert(number) { seen.came += 1 } else { seen.repeated += 1 }
                }
            }
        }
    }
}
