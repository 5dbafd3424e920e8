//! Path migration as the relay sees it: has the client's address changed, and does it answer there?
//!
//! quinn follows a client to a new address by itself (RFC 9000 section 9.3), tells nobody, and goes back silently when the new
//! path turns out to be dead. So a migration counts as done only when an echo was answered while the relay still saw the
//! new address. This part is without I/O; the session asks it on each tick.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;

/// An attempt that is not confirmed by then has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Echoes are repeated at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// An attempt that came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    /// Why it failed; `None` = it did not.
    pub(crate) failed: Option<FailureClass>,
    /// Since the new address was seen.
    pub(crate) took: Duration,
}

/// What a tick asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Asked {
    /// Send an echo with this nonce.
    pub(crate) echo: Option<[u8; 8]>,
    /// Count this.
    pub(crate) ended: Option<Attempt>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct PathWatch {
    /// The last address that is known to work.
    confirmed: SocketAddr,
    pending: Option<Pending>,
    nonce: u64,
}

#[derive(Debug)]
struct Pending {
    address: SocketAddr,
    since: Instant,
    nonce: [u8; 8],
    echo_at: Instant,
}

impl PathWatch {
    /// A session whose client is at `address`. `seed` is random, so that nobody can answer an echo that it has not seen.
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        Self { confirmed: address, pending: None, nonce: seed }
    }

    /// The client's address is `address` now. An address that flaps is one attempt, until it stays away from where it began.
    pub(crate) fn tick(&mut self, address: SocketAddr, rtt: Duration, now: Instant) -> Asked {
        let mut asked = Asked::default();
        match &mut self.pending {
            None if address == self.confirmed => return asked,
            None => {
                let nonce = self.next_nonce();
                self.pending = Some(Pending { address, since: now, nonce, echo_at: now });
            }
            // It moved on before it answered: the attempt goes on, at the newer address. What was asked at the older one
            // proves nothing of it.
            Some(pending) if address != pending.address && address != self.confirmed => {
                let since = pending.since;
                let nonce = self.next_nonce();
                self.pending = Some(Pending { address, since, nonce, echo_at: now });
            }
            Some(_) => {}
        }
        let Some(pending) = &mut self.pending else { return asked };
        let took = now.saturating_duration_since(pending.since);
        if took >= DEADLINE {
            // quinn goes back to the old path when the new one does not answer.
            let class = if address == self.confirmed {
                FailureClass::Reverted
            } else {
                FailureClass::ValidationTimeout
            };
            self.confirmed = address;
            self.pending = None;
            asked.ended = Some(Attempt { failed: Some(class), took });
        } else if pending.echo_at <= now && address == pending.address {
            pending.echo_at = now + rtt.max(MIN_INTERVAL);
            asked.echo = Some(pending.nonce);
        }
        asked
    }

    fn next_nonce(&mut self) -> [u8; 8] {
        self.nonce =
            self.nonce.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.nonce.to_be_bytes()
    }

    /// Whether there is an attempt that has not come to an end.
    pub(crate) const fn is_asking(&self) -> bool {
        self.pending.is_some()
    }

    /// An echo was answered, while the client's address was `address`.
    pub(crate) fn answered(
        &mut self,
        nonce: [u8; 8],
        address: SocketAddr,
        now: Instant,
    ) -> Option<Attempt> {
        let pending =
            self.pending.take_if(|pending| pending.nonce == nonce && pending.address == address)?;
        self.confirmed = address;
        Some(Attempt { failed: None, took: now.saturating_duration_since(pending.since) })
    }

    /// The session ended. An attempt that was under way has failed.
    pub(crate) fn ended(&mut self, class: FailureClass, now: Instant) -> Option<Attempt> {
        let pending = self.pending.take()?;
        Some(Attempt { failed: Some(class), took: now.saturating_duration_since(pending.since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn watch() -> (PathWatch, Instant) {
        (PathWatch::new(address(1), 42), Instant::now())
    }

    #[test]
    fn a_client_that_stays_is_left_alone() {
        let (mut watch, now) = watch();
        assert_eq!(watch.tick(address(1), RTT, now), Asked::default());
        assert_eq!(watch.ended(FailureClass::IdleTimeout, now), None);
    }

    #[test]
    fn a_migration_counts_when_the_echo_is_answered_at_the_new_address() {
        let (mut watch, now) = watch();
        let nonce = watch.tick(address(2), RTT, now).echo.unwrap();
        assert_eq!(
            watch.tick(address(2), RTT, now + RTT / 2),
            Asked::default(),
            "one echo per round trip"
        );
        assert_eq!(
            watch.tick(address(2), RTT, now + RTT).echo,
            Some(nonce),
            "repeated until answered"
        );
        assert_eq!(watch.answered([0; 8], address(2), now + RTT), None, "another nonce");
        let took = RTT * 2;
        assert_eq!(
            watch.answered(nonce, address(2), now + took),
            Some(Attempt { failed: None, took })
        );
        assert_eq!(watch.answered(nonce, address(2), now + took), None, "once");
        assert_eq!(watch.tick(address(2), RTT, now + took), Asked::default());
    }

    #[test]
    fn an_echo_answered_after_the_path_reverted_is_worth_nothing() {
        let (mut watch, now) = watch();
        let nonce = watch.tick(address(2), RTT, now).echo.unwrap();
        assert_eq!(watch.answered(nonce, address(1), now), None);
        let ended = watch.tick(address(1), RTT, now + DEADLINE).ended.unwrap();
        assert_eq!(ended, Attempt { failed: Some(FailureClass::Reverted), took: DEADLINE });
    }

    #[test]
    fn a_path_that_never_answers_fails_once() {
        let (mut watch, now) = watch();
        watch.tick(address(2), RTT, now);
        let ended = watch.tick(address(2), RTT, now + DEADLINE).ended.unwrap();
        assert_eq!(ended.failed, Some(FailureClass::ValidationTimeout));
        assert_eq!(watch.tick(address(2), RTT, now + DEADLINE * 2), Asked::default());
    }

    #[test]
    fn an_address_that_flaps_is_one_attempt() {
        let (mut watch, now) = watch();
        let mut nonces = std::collections::BTreeSet::new();
        for step in 0..20_u32 {
            let port = if step % 2 == 0 { 2 } else { 1 };
            nonces.extend(watch.tick(address(port), RTT, now + RTT * step).echo);
        }
        assert_eq!(nonces.len(), 1);
        let nonce = nonces.pop_first().unwrap();
        assert!(watch.answered(nonce, address(2), now + RTT * 20).is_some());
    }

    #[test]
    fn a_client_that_moves_on_before_it_answers_is_one_attempt() {
        let (mut watch, now) = watch();
        let nonce = watch.tick(address(2), RTT, now).echo.unwrap();
        let newer = watch.tick(address(3), RTT, now + RTT).echo.unwrap();
        assert_eq!(
            watch.answered(nonce, address(3), now + RTT),
            None,
            "asked at the older address"
        );
        let ended = watch.answered(newer, address(3), now + RTT * 2).unwrap();
        assert_eq!(ended.took, RTT * 2);
    }

    #[test]
    fn a_session_that_ends_takes_its_attempt_with_it() {
        let (mut watch, now) = watch();
        watch.tick(address(2), RTT, now);
        let ended = watch.ended(FailureClass::IdleTimeout, now + RTT).unwrap();
        assert_eq!(ended, Attempt { failed: Some(FailureClass::IdleTimeout), took: RTT });
    }
}
