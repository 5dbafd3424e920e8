//! Where a session's client is: probe ids for it, and its migrations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;
use baton_protocol::datagram;
use baton_protocol::frame::RouteId;
use baton_protocol::path::report::{Allowance, PathReport};
use baton_protocol::path::vigil::Standing;
use baton_protocol::path::watch::{Answer, Ended, PathWatch};
use bytes::Bytes;
use tracing::info;

use super::Shared;
use super::glance::{Sight, Whereabouts};
use super::handle::Handle;
use super::serve::Fault;
use crate::metrics::Dropped;
use crate::paths::{GIVEN, ProbeId};

/// How often a session asks again whether a new address of its client works.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How often it looks whether its client came back to an address that QUIC has left by itself.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(super) struct Paths<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    watch: PathWatch,
    /// When to look by itself: only while an attempt is under way.
    tick_at: Option<Instant>,
    /// Attempts cost a line in the log, and probe ids.
    allowance: Allowance,
}

impl<'a> Paths<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, handle: &'a Arc<Handle>, now: Instant) -> Self {
        Self {
            watch: PathWatch::new(handle.connection.remote_address(), rand::random()),
            shared,
            handle,
            tick_at: None,
            allowance: Allowance::new(now),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.tick_at
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.tick_at.is_some_and(|at| at <= now) {
            self.look(now);
        }
    }

    /// There is news of the session: does what there is to do about it.
    pub(super) fn handle_news(&mut self, now: Instant) -> Result<(), Fault> {
        if self.handle.glance().standing() == Standing::Gone {
            self.shared.metrics.evictions.inc();
            return Err(Fault::Gone);
        }
        self.look(now);
        Ok(())
    }

    /// Looks where the client is, and asks there if that is news.
    pub(super) fn look(&mut self, now: Instant) {
        let sight = Sight::of(&self.handle.connection);
        if self.handle.glance().find(sight) == Whereabouts::WentBack {
            let is_asking = self.watch.is_asking().then_some(now);
            let next = is_asking.or(self.watch.poll_timeout());
            self.tick_at = next.map(|at| at.max(now + SLOW_TICK));
            return;
        }
        let nonce = self.watch.tick(sight.place, self.handle.connection.rtt(), now);
        self.tick_at = self.watch.is_asking().then_some(now + TICK);
        if let Some(nonce) = nonce {
            self.push(datagram::echo(nonce));
        }
        self.count();
    }

    /// The client answered an echo.
    pub(super) fn answered(&mut self, nonce: [u8; 8], now: Instant) {
        self.watch.answered(nonce, Sight::of(&self.handle.connection).place, now);
        self.count();
    }

    /// The client asks whether the path works that it has switched to.
    pub(super) fn confirm(&mut self, attempt: u64, nonce: [u8; 8], now: Instant) {
        if self.watch.is_news(attempt) && !self.allowance.take_at_relay(now) {
            return;
        }
        let connection = &self.handle.connection;
        let (place, rtt) = (Sight::of(connection).place, connection.rtt());
        match self.watch.confirm(attempt, nonce, place, rtt, now) {
            Answer::Ask(nonce) => {
                self.tick_by(Some(now + TICK));
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

    /// It looks by itself at this time at the latest.
    fn tick_by(&mut self, at: Option<Instant>) {
        self.tick_at = self.tick_at.into_iter().chain(at).min();
    }

    fn push(&self, datagram: Bytes) {
        let dropped = self.handle.egress.push_own(datagram);
        self.shared.metrics.dropped(Dropped::QueueFull, dropped);
    }

    /// Counts attempts that have ended. Those under way will, by themselves.
    fn count(&mut self) {
        while let Some(Ended { kind, failed, took }) = self.watch.poll_ended() {
            self.shared.metrics.migration(kind.name(), failed, took);
            let failed = failed.map(FailureClass::name);
            info!(session = %self.handle.id, kind = kind.name(), failed, ?took, "path migration");
        }
        self.tick_by(self.watch.poll_timeout());
    }
}
