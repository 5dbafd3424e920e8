//! A flood of first packets is thinned out by the kernel, before it costs anything.
//!
//! Each first packet costs a relay some ten microseconds until it is turned away, and whoever sends it far less: who sends them
//! fast enough takes all of the relay's time, and its socket's room, from sessions. So the socket [counts](Arrivals) them, and when
//! there are more than any crowd of clients sends, the kernel is told to let no more than so many pass. It does so by chance
//! (a socket filter knows no addresses), and packets of connections that there are do not take part.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// So many pass in a second, whatever comes: a fifth of a core. Ten thousand clients who all come at once send no more.
const MOST: f64 = 20_000.0;

/// How often it is looked at, while some come.
const LOOK: Duration = Duration::from_millis(50);

/// Has the socket take no more than it should, until the relay stops.
pub(crate) async fn run(
    socket: UdpSocket,
    arrivals: Arc<Arrivals>,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sieve = Sieve::new();
    loop {
        let was_closed = sieve.is_closed();
        let pause = async {
            if !was_closed {
                arrivals.some().await;
                // What came before this moment is not of the time that is measured.
                arrivals.take();
            }
            let since = Instant::now();
            tokio::time::sleep(LOOK).await;
            since
        };
        let since = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            since = pause => since,
        };
        let look = sieve.look(arrivals.take(), since.elapsed());
        metrics.held_back(look.held_back);
        if !was_closed && !sieve.is_closed() {
            continue;
        }
        if let Err(error) = take(&socket, look.share) {
            // Without the kernel's help each is turned away by hand.
            return warn!(%error, "the kernel does not thin out first packets");
        }
        match (was_closed, sieve.is_closed()) {
            (false, true) => {
                warn!(share = look.share, "a flood of first packets: few of them pass")
            }
            (true, false) => info!("the flood of first packets is over"),
            _ => {}
        }
    }
}

/// How many have come since this was asked last.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    count: AtomicU64,
    /// Told of the first ones.
    some: Notify,
}

impl Arrivals {
    pub(crate) fn add(&self, count: u64) {
        if self.count.fetch_add(count, Ordering::Relaxed) == 0 {
            self.some.notify_one();
        }
    }

    /// Waits until some have come. Only one may wait.
    async fn some(&self) {
        self.some.notified().await;
    }

    fn take(&self) -> u64 {
        self.count.swap(0, Ordering::Relaxed)
    }
}

/// Whether this may be a first packet: one with a long header that is not of a handshake which goes on (RFC 9000 section 17.2).
/// In versions that are not ours nothing goes on.
pub(crate) fn may_be_first(packet: &[u8]) -> bool {
    let [first, version @ ..] = packet else { return false };
    let goes_on = first & 0x30 == 0x20 && version.starts_with(&[0, 0, 0, 1]);
    first & 0x80 != 0 && !goes_on
}

/// Which share of them may pass. It is told how many came.
#[derive(Debug)]
struct Sieve {
    share: f64,
}

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    /// The share that may pass from now.
    share: f64,
    /// So many did not pass since the last look, by what did.
    held_back: u64,
}

impl Sieve {
    const fn new() -> Self {
        Self { share: 1.0 }
    }

    /// Whether it holds any back.
    fn is_closed(&self) -> bool {
        self.share < 1.0
    }

    /// So many passed in so long.
    fn look(&mut self, passed: u64, length: Duration) -> Look {
        let passed = passed as f64;
        let came = passed / self.share;
        let most = MOST * length.as_secs_f64();
        self.share = if came > most { most / came } else { 1.0 };
        Look { share: self.share, held_back: (came - passed) as u64 }
    }
}

/// From now on the socket takes this share of first packets, and everything else.
fn take(socket: &UdpSocket, share: f64) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if share >= 1.0 { socket.detach_filter() } else { socket.attach_filter(&filter(share)) }
}

/// The same as [`may_be_first`], for the kernel, which gives it the packet with the header of UDP before it.
fn filter(share: f64) -> [SockFilter; 10] {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const JUMP_IF_ANY: u16 = 0x45;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_MORE: u16 = 0x25;
    const RETURN: u16 = 0x06;
    /// Of UDP's header.
    const HEADER: u32 = 8;
    /// Where a random number is found (`SKF_AD_OFF + SKF_AD_RANDOM`).
    const RANDOM: u32 = 0xffff_f000 + 56;
    let most = (share * f64::from(u32::MAX)) as u32;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, HEADER),
        SockFilter::new(JUMP_IF_ANY, 0, 6, 0x80),
        SockFilter::new(AND, 0, 0, 0x30),
        SockFilter::new(JUMP_IF_EQUAL, 0, 2, 0x20),
        SockFilter::new(LOAD_WORD, 0, 0, HEADER + 1),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, 1),
        SockFilter::new(LOAD_WORD, 0, 0, RANDOM),
        SockFilter::new(JUMP_IF_MORE, 1, 0, most),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_crowd_passes_and_a_flood_is_thinned_out_to_what_a_crowd_is() {
        let mut sieve = Sieve::new();
        assert_eq!(sieve.look(20_000, SECOND), Look { share: 1.0, held_back: 0 });
        assert_eq!(sieve.look(200_000, SECOND), Look { share: 0.1, held_back: 0 });
        assert!(sieve.is_closed());
        let Look { share, held_back } = sieve.look(20_000, SECOND);
        assert_eq!((share, held_back), (0.1, 180_000), "it goes on");
        assert_eq!(sieve.look(10, SECOND).share, 1.0, "it is over");
        assert!(!sieve.is_closed());
    }

    #[test]
    fn a_flood_of_which_little_was_seen_is_held_back_all_the_same() {
        // A relay that is busy with it takes 50,000 of them in a second.
        let (mut sieve, mut seen) = (Sieve::new(), Vec::new());
        for _ in 0..8 {
            let passed = (600_000.0 * sieve.share).min(50_000.0) as u64;
            seen.push(passed);
            sieve.look(passed, SECOND);
        }
        assert_eq!(seen[0], 50_000);
        assert!(seen[7] <= 20_001, "{seen:?}");
    }

    #[test]
    fn the_kernel_takes_of_first_packets_what_it_is_told_and_all_others() {
        let [near, far] = [(), ()].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let address = far.local_addr().unwrap();
        let arrive = |packet: &[u8], count: usize| {
            let mut came = 0;
            // Few at a time: all of them fit the socket.
            for _ in 0..count.div_ceil(50) {
                for _ in 0..50 {
                    near.send_to(packet, address).unwrap();
                }
                far.set_nonblocking(true).unwrap();
                while far.recv(&mut [0; 100]).is_ok() {
                    came += 1;
                }
            }
            came
        };
        let initial = [0xc3, 0, 0, 0, 1, 8];
        let other_version = [0xe3, 0, 0, 0, 2, 8];
        let handshake = [0xe3, 0, 0, 0, 1, 8];
        let short = [0x43, 1, 2, 3];
        assert!(may_be_first(&initial) && may_be_first(&other_version) && may_be_first(&[0xc0]));
        assert!(!may_be_first(&handshake) && !may_be_first(&short) && !may_be_first(&[]));
        take(&far, 0.1).unwrap();
        for first in [initial, other_version] {
            let came = arrive(&first, 2000);
            assert!((100..300).contains(&came), "{came} of 2000");
        }
        assert_eq!((arrive(&handshake, 500), arrive(&short, 500)), (500, 500));
        take(&far, 1.0).unwrap();
        assert_eq!(arrive(&initial, 500), 500);
    }
}
