//! Where a session's client is: probe ids for it, its migrations, and how long nothing may be heard of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;
use baton_protocol::datagram;
use baton_protocol::frame::RouteId;
use baton_protocol::path::report::PathReport;
use baton_protocol::path::vigil::{Standing, Vigil};
use baton_protocol::path::watch::{Answer, Ended, PathWatch};
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

/// So many attempts may be reported at once, and one for each further interval: each is answered with new ids.
const REPORTS: u32 = 64;
const REPORT_INTERVAL: Duration = Duration::from_millis(125);

/// See the [module](self).
pub(super) struct Paths<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    watch: PathWatch,
    vigil: Vigil,
    tick_at: Instant,
    /// When it will have used up none of the reports that it may make.
    reports_at: Instant,
}

impl<'a> Paths<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, handle: &'a Arc<Handle>, now: Instant) -> Self {
        Self {
            watch: PathWatch::new(handle.connection.remote_address(), rand::random()),
            vigil: Vigil::new(now),
            shared,
            handle,
            tick_at: now + idle_tick(shared),
            reports_at: now,
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
        let heard = self.handle.connection.stats().udp_rx.datagrams;
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
        let nonce = self.watch.tick(connection.remote_address(), connection.rtt(), now);
        let tick = if self.watch.is_asking() { TICK } else { idle_tick(self.shared) };
        self.tick_at = now + tick;
        if let Some(nonce) = nonce {
            self.push(datagram::echo(nonce));
        }
        self.count();
    }

    /// The client answered an echo.
    pub(super) fn answered(&mut self, nonce: [u8; 8], now: Instant) {
        self.watch.answered(nonce, self.handle.connection.remote_address(), now);
        self.count();
    }

    /// The client asks whether the path works that it has switched to.
    pub(super) fn confirm(&mut self, attempt: u64, nonce: [u8; 8], now: Instant) {
        let connection = &self.handle.connection;
        let (address, rtt) = (connection.remote_address(), connection.rtt());
        match self.watch.confirm(attempt, nonce, address, rtt, now) {
            Answer::Ask(nonce) => {
                self.tick_at = self.tick_at.min(now + TICK);
                self.push(datagram::echo(nonce));
            }
            Answer::Confirmed => self.push(datagram::path_confirmed(attempt)),
            Answer::Nothing => {}
        }
        self.count();
    }

    /// The client says how an attempt ended. Gives new probe ids for it.
    pub(super) fn report(
        &mut self,
        report: PathReport,
        now: Instant,
    ) -> Result<Vec<RouteId>, Fault> {
        self.reports_at = self.reports_at.max(now) + REPORT_INTERVAL;
        if self.reports_at > now + REPORT_INTERVAL * REPORTS {
            return Err(Fault::Restless);
        }
        self.watch.report(report, self.handle.connection.remote_address(), now);
        self.count();
        Ok(self.probe_ids())
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

/// Often enough for the times that hold, which tests make short.
fn idle_tick(shared: &Shared) -> Duration {
    IDLE_TICK.min(shared.timers.keep_alive / 4)
}
