//! Where a session's client is: probe ids for it, its migrations, and how long nothing may be heard of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;
use baton_protocol::datagram;
use baton_protocol::frame::RouteId;
use baton_protocol::path::report::{Allowance, PathReport};
use baton_protocol::path::vigil::{Standing, Vigil};
use baton_protocol::path::watch::{Answer, Ended, PathWatch, Place};
use bytes::Bytes;
use tracing::info;

use super::Shared;
use super::handle::Handle;
use super::serve::Fault;
use crate::metrics::Dropped;
use crate::paths::{GIVEN, ProbeId};

/// How often a session asks again whether a new address of its client works.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How often it looks for a new address where no datagrams come that would show one. Ten thousand sessions do this.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Sessions that look within so long do it at once: one wake-up of the process for all of them, and what they use is in its caches.
/// Ten thousand are five hundred at a time then, which takes no millisecond.
const TOGETHER: Duration = Duration::from_millis(50);
const _: () = assert!(1_000_000_000_u32.is_multiple_of(TOGETHER.subsec_nanos()));

/// See the [module](self).
pub(super) struct Paths<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    watch: PathWatch,
    vigil: Vigil,
    tick_at: Instant,
    /// Where the client was when it was looked at last, and how many packets of it had been heard.
    last: (SocketAddr, u64),
    /// Attempts cost a line in the log, and probe ids.
    allowance: Allowance,
}

impl<'a> Paths<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, handle: &'a Arc<Handle>, now: Instant) -> Self {
        let address = handle.connection.remote_address();
        Self {
            watch: PathWatch::new(address, rand::random()),
            last: (address, 0),
            vigil: Vigil::new(now),
            shared,
            handle,
            tick_at: idle_look(shared, now),
            allowance: Allowance::new(now),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub(super) const fn poll_timeout(&self) -> Instant {
        self.tick_at
    }

    /// Does what is due at `now`. Whether something was.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<bool, Fault> {
        if now < self.tick_at {
            return Ok(false);
        }
        self.look(now);
        let (_, heard) = self.last;
        let was_suspect = self.vigil.is_suspect();
        let standing = self.vigil.look(&self.shared.timers, heard, now);
        let suspects = i64::from(self.vigil.is_suspect()) - i64::from(was_suspect);
        self.shared.metrics.suspects.add(suspects);
        if standing == Standing::Gone {
            self.shared.metrics.evictions.inc();
            return Err(Fault::Gone);
        }
        Ok(true)
    }

    /// Looks where the client is, and asks there if that is news.
    pub(super) fn look(&mut self, now: Instant) {
        let connection = &self.handle.connection;
        let (place, heard) = self.seen();
        let address = place.address;
        let before = std::mem::replace(&mut self.last, (address, heard));
        if address != before.0 && heard == before.1 {
            // Nothing came from there: QUIC has gone back by itself, because its own validation of the path was lost. The client's
            // next packet takes it along again.
            self.last.0 = before.0;
            self.tick_at = idle_look(self.shared, now);
            return;
        }
        let nonce = self.watch.tick(place, connection.rtt(), now);
        let is_asking = self.watch.is_asking();
        self.tick_at = if is_asking { now + TICK } else { idle_look(self.shared, now) };
        if let Some(nonce) = nonce {
            self.push(datagram::echo(nonce));
        }
        self.count();
    }

    /// The client answered an echo.
    pub(super) fn answered(&mut self, nonce: [u8; 8], now: Instant) {
        self.watch.answered(nonce, self.seen().0, now);
        self.count();
    }

    /// The client asks whether the path works that it has switched to.
    pub(super) fn confirm(&mut self, attempt: u64, nonce: [u8; 8], now: Instant) {
        if self.watch.is_news(attempt) && !self.allowance.take_at_relay(now) {
            return;
        }
        let rtt = self.handle.connection.rtt();
        match self.watch.confirm(attempt, nonce, self.seen().0, rtt, now) {
            Answer::Ask(nonce) => {
                self.tick_at = self.tick_at.min(now + TICK);
                self.push(datagram::echo(nonce));
            }
            Answer::Confirmed => self.push(datagram::path_confirmed(attempt)),
            Answer::Nothing => {}
        }
        self.count();
    }

    /// The client says how an attempt ended. Gives new probe ids for it, unless there were too many.
    pub(super) fn report(&mut self, report: PathReport, now: Instant) -> Option<Vec<RouteId>> {
        if !self.watch.has_seen(report.attempt) && !self.allowance.take_at_relay(now) {
            return None;
        }
        self.watch.report(report, self.handle.connection.remote_address(), now);
        self.count();
        Some(self.probe_ids())
    }

    /// New ids for probes, in place of those before.
    pub(super) fn probe_ids(&self) -> Vec<RouteId> {
        let (session, generation) = (self.handle.id, self.handle.given.renew());
        let seal = |number| self.shared.probe_key.seal(ProbeId { session, generation, number });
        (0..GIVEN).map(seal).collect()
    }

    /// The session ended like this.
    pub(super) fn end(&mut self, class: FailureClass, now: Instant) {
        self.watch.session_ended(class, now);
        self.count();
    }

    /// Where the client is, and how many packets of it have been heard.
    fn seen(&self) -> (Place, u64) {
        let connection = &self.handle.connection;
        let (address, stats) = (connection.remote_address(), connection.stats());
        let challenges = stats.frame_tx.path_challenge;
        (Place { address, challenges }, stats.udp_rx.datagrams)
    }

    fn push(&self, datagram: Bytes) {
        let dropped = self.handle.egress.push_own(datagram);
        self.shared.metrics.dropped(Dropped::QueueFull, dropped);
    }

    fn count(&mut self) {
        while let Some(Ended { kind, failed, took }) = self.watch.poll_ended() {
            self.shared.metrics.migration(kind.name(), failed, took);
            let failed = failed.map(FailureClass::name);
            info!(session = %self.handle.id, kind = kind.name(), failed, ?took, "path migration");
        }
    }
}

impl Drop for Paths<'_> {
    /// However the session ended: it is suspect no more.
    fn drop(&mut self) {
        self.shared.metrics.suspects.sub(self.vigil.is_suspect().into());
    }
}

/// When an idle session looks again: often enough for the times that hold, which tests make short.
fn idle_look(shared: &Shared, now: Instant) -> Instant {
    together(now + IDLE_TICK.min(shared.timers.keep_alive / 4), shared.started)
}

/// The next time at which several look, counted from `start`.
fn together(at: Instant, start: Instant) -> Instant {
    let at = at.max(start);
    // A second is a whole number of these.
    let over = (at - start).subsec_nanos() % TOGETHER.subsec_nanos();
    if over == 0 { at } else { at + TOGETHER - Duration::from_nanos(over.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_look_together_and_hardly_later() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let looks = [0, 1, 49, 50, 51, 1_000_000_007].map(|ms| together(at(ms), start));
        assert_eq!(looks, [at(0), at(50), at(50), at(50), at(100), at(1_000_000_050)]);
        assert_eq!(together(start, at(7)), at(7), "not before the first");
        let hardly_later = at(50) + Duration::from_nanos(1);
        assert_eq!(together(hardly_later, start), at(100), "never before the time");
        let years = Duration::from_secs(20 * 365 * 86_400);
        assert_eq!(together(at(1) + years, start), at(50) + years);
    }
}
