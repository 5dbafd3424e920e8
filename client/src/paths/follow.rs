//! Whether the machine would reach the relay from another address than the session uses.
//!
//! The kernel is asked by a socket that is connected, and sends nothing: it picks the address that packets would leave from. That
//! is what a change of network changes, whatever the interfaces are called.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::transport::Sockets;

/// How often it is asked.
const ASK: Duration = Duration::from_secs(1);

/// After a migration that failed it is not tried again sooner than that; longer each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(80));

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Follow {
    sockets: Sockets,
    remote: SocketAddr,
    /// Whether this is wanted.
    is_on: bool,
    /// What the session uses. None: there was no way to the relay any more when it was looked at first.
    using: Option<IpAddr>,
    /// What was found when it was asked last, if that is another one.
    other: Option<IpAddr>,
    ask_at: Instant,
    pause: Duration,
}

impl Follow {
    /// Of a session that was just made, whose socket is bound to an address, or to any.
    pub(super) fn new(
        sockets: Sockets,
        bound: Option<IpAddr>,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        let is_on = sockets.are_followed();
        // The kernel is asked later than the session began, and may know of another network already.
        let using = bound.or_else(|| is_on.then(|| from(&sockets, remote)).flatten());
        Self { sockets, remote, is_on, using, other: None, ask_at: now + ASK, pause: PAUSES.0 }
    }

    /// When to [look](Self::look) next; none if there is nothing to follow.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.is_on.then_some(self.ask_at)
    }

    /// Something is wrong: the next look is due.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.ask_at = self.ask_at.min(now);
    }

    /// Whether to migrate now. An address must be found twice: while a network comes up, some come and go.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if !self.is_on || now < self.ask_at {
            return false;
        }
        let found = from(&self.sockets, self.remote).filter(|found| Some(*found) != self.using);
        let before = std::mem::replace(&mut self.other, found);
        self.ask_at = now + if found == before { ASK } else { ASK / 4 };
        found.is_some() && found == before
    }

    /// The session is where it should be: what matters is what changes from now on.
    pub(super) fn settled(&mut self) {
        if self.is_on {
            self.using = from(&self.sockets, self.remote).or(self.using);
        }
        (self.other, self.pause) = (None, PAUSES.0);
    }

    /// It could not.
    pub(super) fn failed(&mut self, now: Instant) {
        self.other = None;
        self.ask_at = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

/// Where packets to `remote` would leave from; none if there is no way.
fn from(sockets: &Sockets, remote: SocketAddr) -> Option<IpAddr> {
    let socket = sockets.make(remote).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// A machine at 127.0.0.n, or without a network for n = 0.
    fn machine() -> (Arc<AtomicU8>, Sockets) {
        let at = Arc::new(AtomicU8::new(1));
        let sockets = {
            let at = at.clone();
            Sockets::new(move |_| match at.load(Ordering::Relaxed) {
                0 => Err(std::io::ErrorKind::NetworkUnreachable.into()),
                last => UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 0, last), 0)),
            })
        };
        (at, sockets)
    }

    fn remote() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn a_machine_that_stays_is_left_alone_and_one_that_goes_is_followed() {
        let (at, sockets) = machine();
        let mut now = Instant::now();
        let mut follow = Follow::new(sockets.followed(), None, remote(), now);
        let mut look = |follow: &mut Follow, steps: u32| {
            (0..steps).any(|_| {
                now += ASK;
                follow.look(now)
            })
        };
        assert!(!look(&mut follow, 10));
        at.store(2, Ordering::Relaxed);
        assert!(!look(&mut follow, 1), "once may be chance");
        assert!(look(&mut follow, 1));
        follow.settled();
        assert!(!look(&mut follow, 10));
        at.store(0, Ordering::Relaxed);
        assert!(!look(&mut follow, 10), "without a network there is nowhere to go");
        at.store(2, Ordering::Relaxed);
        assert!(!look(&mut follow, 10), "it is back where it was");
    }

    #[test]
    fn a_machine_that_changed_before_it_was_looked_at_is_followed() {
        let one: IpAddr = [127, 0, 0, 1].into();
        for (bound, at_first) in [(Some(one), 0), (Some(one), 2), (None, 0)] {
            let (at, sockets) = machine();
            at.store(at_first, Ordering::Relaxed);
            let mut now = Instant::now();
            let mut follow = Follow::new(sockets.followed(), bound, remote(), now);
            at.store(2, Ordering::Relaxed);
            let mut looks = (0..3).map(|_| {
                now += ASK;
                follow.look(now)
            });
            assert!(looks.any(|migrate| migrate), "bound to {bound:?}, then at {at_first}");
        }
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later() {
        let (at, sockets) = machine();
        let start = Instant::now();
        let mut follow = Follow::new(sockets.followed(), None, remote(), start);
        at.store(2, Ordering::Relaxed);
        let mut tried = Vec::new();
        for second in 1..100 {
            let now = start + Duration::from_secs(second);
            if follow.look(now) {
                tried.push(second);
                follow.failed(now);
            }
        }
        assert_eq!(tried, [2, 8, 19, 40, 81]);
    }

    #[test]
    fn sockets_that_are_the_owners_business_are_not_followed() {
        let (at, sockets) = machine();
        let now = Instant::now();
        let mut follow = Follow::new(sockets, None, remote(), now);
        at.store(2, Ordering::Relaxed);
        assert_eq!(follow.poll_timeout(), None);
        assert!((1..10).all(|n| !follow.look(now + ASK * n)));
    }
}
