//! The state machine of one session, with all that it needs to carry out its orders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::frame::{
    CAPABILITY_PATHS, CAPABILITY_POLICY_FIRST, CAPABILITY_STREAMS, Frame, Hello, Intent, Limited,
    NoticeCode, Renewed, Token,
};
use baton_protocol::id::Stamp;
use baton_protocol::session::{End, GoAwayOrder, Limits, Order, Session};
use bytes::Bytes;
use quinn::ConnectionError;
use tracing::info;

use super::handle::{Command, Handle, Note};
use super::intake::Intake;
use super::outbox::Outbox;
use super::paths::Paths;
use super::registration::Registration;
use super::routes::Seen;
use super::serve::Fault;
use super::{Shared, class_of, policy};
use crate::auth::{Admission, too_soon};
use crate::congestion;
use crate::detour;
use crate::directory::unix_ms;
use crate::drain::Slot;

/// A client is told at most this often that a peer is not there.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// A client to which nothing of what waits for it can be written for so long is closed.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// A session that came to take over does so at once, or its client is gone.
const STANDBY_PATIENCE: Duration = Duration::from_secs(10);

/// A session that has moved is read for a moment more. Its client closes it long before this.
const MOVED_PATIENCE: Duration = Duration::from_secs(10);

/// A session may ask to be renewed this often: each time costs a signature.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// So many handovers may be taken back at once, and one for each further interval: each is told to every relay of the pool.
const RECLAIMS: u32 = 8;
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(super) struct Serving<'a> {
    shared: &'a Arc<Shared>,
    handle: &'a Arc<Handle>,
    session: Session,
    intake: Arc<Intake>,
    outbox: Arc<Outbox>,
    paths: Paths<'a>,
    admission: Admission,
    welcomed: Instant,
    notice_at: Instant,
    /// The end of its access token.
    expires: Option<Instant>,
    /// When it may ask for a later one.
    renewal_at: Instant,
    /// When it will have used up none of the handovers that it may take back.
    reclaims_at: Instant,
    /// The end of a phase that must end, and of which.
    phase_ends: Option<Instant>,
    phase: &'static str,
    /// Frames that were written for its client, when that was looked at last.
    written: u32,
    /// Set while others wait, and nothing of them could be written: until then.
    stalled: Option<Instant>,
}

impl<'a> Serving<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        handle: &'a Arc<Handle>,
        (hello, admission): (&Hello, Admission),
        limits: Limits,
        intake: Arc<Intake>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let now = Instant::now();
        let session = if hello.capabilities & CAPABILITY_POLICY_FIRST == 0 {
            Session::new(hello.intent, limits)
        } else {
            Session::with_policy_first(hello.intent, limits)
        };
        let mut serving = Self {
            shared,
            handle,
            phase: session.phase_name(),
            session,
            intake,
            outbox,
            paths: Paths::new(shared, handle, now),
            expires: at_unix(admission.expires_unix, now),
            renewal_at: now,
            reclaims_at: now,
            admission,
            welcomed: now,
            notice_at: now,
            phase_ends: None,
            written: 0,
            stalled: None,
        };
        serving.enter_phase(now);
        handle.egress.set_limit(shared.rates.get().receiver, now);
        serving
    }

    /// The name of the state that it is in.
    pub(super) const fn phase(&self) -> &'static str {
        self.phase
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ends = [self.expires, self.phase_ends, self.stalled, self.paths.poll_timeout()];
        ends.into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Fault> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.session.phase_name() != self.phase {
            self.enter_phase(now);
        }
        if is_due(self.expires) {
            return Err(Fault::TokenExpired);
        }
        if is_due(self.phase_ends) {
            return Err(if self.handle.is_standby() { Fault::Idle } else { Fault::Moved });
        }
        if self.stalls(now) {
            return Err(Fault::Slow);
        }
        self.paths.handle_timeout(now);
        Ok(())
    }

    /// The session was looked at, and there is news.
    pub(super) fn handle_news(&mut self, now: Instant) -> Result<(), Fault> {
        self.paths.handle_news(now)?;
        // Other rules may hold.
        if !self.shared.gate.still_admits(&self.handle.peer, &self.admission) {
            return Err(Fault::NotAllowed);
        }
        Ok(())
    }

    /// Whether something has waited for its client for so long, and nothing of it could be written.
    fn stalls(&mut self, now: Instant) -> bool {
        let written = self.outbox.written();
        let goes_on = std::mem::replace(&mut self.written, written) != written;
        let until = self.stalled.filter(|_| !goes_on).unwrap_or(now + READ_PATIENCE);
        self.stalled = self.outbox.is_busy().then_some(until);
        self.stalled.is_some_and(|until| until <= now)
    }

    /// Judges a newer access token. If it is no good, the one before holds until its end.
    fn renew(&mut self, token: &Token, now: Instant) {
        let wait = self.renewal_at.saturating_duration_since(now);
        let judged = if wait.is_zero() {
            self.renewal_at = now + RENEWAL_INTERVAL;
            let gate = &self.shared.gate;
            gate.renew(&self.handle.peer, &self.admission, &token.0, unix_ms() / 1000)
        } else {
            Err(too_soon(wait))
        };
        self.shared.metrics.renewal(judged.as_ref().err().map(|refused| refused.code));
        let judged = judged.map(|admission| {
            self.expires = at_unix(admission.expires_unix, now);
            let ticket = self.ticket(&admission, self.handle.stamp());
            let expires_unix = admission.expires_unix;
            self.admission = admission;
            Renewed { expires_unix, ticket }
        });
        self.session.renewed(judged);
    }

    /// Makes the session home again, whose client went elsewhere and failed there. A ticket that is no good has no stamp: then what
    /// this relay knows must do.
    fn reclaim(&mut self, ticket: &Bytes, now: Instant) -> Result<(), Fault> {
        self.reclaims_at = self.reclaims_at.max(now) + RECLAIM_INTERVAL;
        if self.reclaims_at > now + RECLAIM_INTERVAL * RECLAIMS {
            return Err(Fault::Restless);
        }
        let gate = &self.shared.gate;
        let failed = gate.stamp_of(ticket, self.handle.whose(), unix_ms() / 1000);
        let Some(stamp) = self.shared.directory.reclaim(self.handle, failed) else {
            // It is noticed as the end of the connection.
            self.handle.close(CloseCode::Superseded, End::Superseded);
            return Ok(());
        };
        self.shared.metrics.reclaims.inc();
        self.session.reclaimed(stamp, self.ticket(&self.admission, stamp));
        Ok(())
    }

    /// A ticket, with what is known of the way to the client by now.
    fn ticket(&self, admission: &Admission, stamp: Stamp) -> Bytes {
        let window = congestion::window(&self.handle.connection);
        self.shared.gate.ticket(self.handle.whose(), admission, stamp, window)
    }

    fn enter_phase(&mut self, now: Instant) {
        self.phase = self.session.phase_name();
        self.phase_ends = match self.phase {
            "standby" => Some(now + STANDBY_PATIENCE),
            "moved" => Some(now + MOVED_PATIENCE),
            _ => None,
        };
    }

    /// Takes what the control stream's reader brought.
    pub(super) fn read(&mut self, read: Result<Option<Frame>, Fault>) -> Result<(), Fault> {
        match read? {
            Some(frame) => Ok(self.session.handle_frame(frame)?),
            None => Ok(()),
        }
    }

    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Serve => self.session.stay(),
            Command::Go { slot: Slot { reason, deadline, reconnect_after }, at } => {
                let passed = at.elapsed();
                // A zero deadline is never sent: a session without time is closed by the drain.
                let deadline = deadline.saturating_sub(passed).max(Duration::from_millis(1));
                let reconnect_after = reconnect_after.saturating_sub(passed);
                let ticket = self.ticket(&self.admission, self.handle.stamp());
                self.session.go_away(GoAwayOrder {
                    reason,
                    deadline,
                    reconnect_after,
                    route_ids: Vec::new(),
                    ticket,
                });
                self.shared.metrics.goaway_sent.inc();
            }
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Presence(peer, state) => self.session.presence(peer, state),
            Note::Sender { peer, stranger } => self.session.sender(peer, stranger),
            Note::Knock(peer) => self.session.knock(peer),
            Note::Unreached(peer) => {
                let alias = self.session.alias_to(&peer);
                alias.into_iter().for_each(|alias| self.seen(Seen::Offline { alias }));
            }
            Note::Refreshed(peer) => self.session.refreshed(peer),
            Note::Limited(Limited { kind, allowed }) => self.session.limited(kind, allowed),
        }
        if self.handle.has_missed() {
            self.session.resync();
        }
    }

    pub(super) fn seen(&mut self, seen: Seen) {
        let now = Instant::now();
        match seen {
            Seen::Offline { alias } if self.notice_at <= now => {
                self.notice_at = now + NOTICE_INTERVAL;
                self.session.notice(alias, NoticeCode::Offline);
            }
            Seen::Offline { .. } => {}
            Seen::EchoReply { nonce } => self.paths.answered(nonce, now),
            Seen::PathConfirm { attempt, nonce } => self.paths.confirm(attempt, nonce, now),
            Seen::Elsewhere => self.paths.look(now),
            Seen::Limited(Limited { kind, allowed }) => self.session.limited(kind, allowed),
        }
    }

    /// The first that its client is told: that it is in, and what it may use.
    pub(super) fn welcome(&self, welcome: Frame, known: u64) -> Result<(), Fault> {
        self.say(welcome)?;
        if known & CAPABILITY_STREAMS != 0 {
            self.handle.egress.take_streams();
            detour::allow(&self.handle.connection);
        }
        if known != 0 {
            self.say(Frame::Capabilities { known })?;
        }
        if known & CAPABILITY_PATHS != 0 {
            self.say(Frame::Probes { ids: self.paths.probe_ids() })?;
        }
        Ok(())
    }

    pub(super) fn say(&self, frame: Frame) -> Result<(), Fault> {
        self.outbox.put(frame).map_err(|_| Fault::Slow)
    }

    /// Carries out what the state machine wants.
    pub(super) fn carry_out(&mut self) -> Result<(), Fault> {
        let directory = &self.shared.directory;
        while let Some(order) = self.session.poll_order() {
            match order {
                Order::Send(frame) => self.say(frame)?,
                Order::Announce => {
                    let Some(stamp) = directory.announce(self.handle) else {
                        // It is noticed as the end of the connection.
                        self.handle.close(CloseCode::Superseded, End::Superseded);
                        return Ok(());
                    };
                    if self.handle.intent == Intent::Handover {
                        self.shared.metrics.handover(None, self.welcomed.elapsed());
                    }
                    self.session.announced(self.handle.intent, stamp);
                }
                Order::Open { alias, peer } => {
                    self.intake.open(alias, directory.open(self.handle, peer))
                }
                Order::Shut { alias, last } => {
                    self.intake.shut(alias);
                    last.iter().for_each(|peer| directory.shut(self.handle, peer));
                }
                Order::SenderKnown { peer, alias } => self.handle.sender_known(peer, alias),
                Order::Watch { peer } => directory.watch(self.handle, peer),
                Order::Unwatch { peer } => directory.unwatch(self.handle, &peer),
                Order::Beyond(kind) => self.shared.metrics.limited(kind),
                Order::Acknowledged => {
                    self.shared.metrics.goaway_acked.inc();
                    directory.acknowledged(self.handle.id);
                }
                Order::Policy { mode } => {
                    policy::set_mode(self.shared, self.handle, mode)?;
                    self.session.ruled(Ok(()));
                }
                Order::Rule(rule) => {
                    let done = policy::rule(self.shared, self.handle, &rule);
                    self.session.ruled(done);
                }
                Order::Renew { token } => self.renew(&token, Instant::now()),
                Order::PathReport(report) => {
                    let ids = self.paths.report(report, Instant::now());
                    ids.into_iter().for_each(|ids| self.session.probes(ids));
                }
                Order::Moved { stamp, relay } => directory.moved(self.handle, stamp, relay),
                Order::Reclaim { ticket } => self.reclaim(&ticket, Instant::now())?,
            }
        }
        Ok(())
    }

    /// The session is over: it is removed.
    pub(super) fn end(
        &mut self,
        fault: &Fault,
        registration: &mut Registration,
        connected: Instant,
    ) {
        let closed_by_client = matches!(
            fault,
            Fault::Connection(ConnectionError::ApplicationClosed(_)) | Fault::ControlEnded
        );
        let by_client = if closed_by_client { End::ClosedByClient } else { End::Lost };
        let end = self.handle.closed_as().unwrap_or(by_client);
        self.handle.close(fault.code(), end);
        let class = match fault {
            _ if end == End::Superseded => FailureClass::Superseded,
            Fault::Connection(error) => class_of(error),
            _ => FailureClass::ApplicationCloseLocal,
        };
        self.paths.end(class, Instant::now());
        if self.handle.takes_over() && !was_given_up(fault, end) {
            self.shared.metrics.handover(Some(class), Duration::ZERO);
        }
        let outcome = self.session.outcome(end);
        let (watched, routed) = (self.session.watched(), self.session.routed());
        registration.remove(outcome, &watched, &routed);
        let (session, peer) = (self.handle.id, self.handle.peer);
        info!(%session, ?peer, ?end, outcome = outcome.name(), after = ?connected.elapsed(), %fault, "ended");
    }
}

/// Whether the client had no more need of its standby: it may stay where it is (it closes with `moved` then), or has made
/// another. That is no handover that failed.
fn was_given_up(fault: &Fault, end: End) -> bool {
    let stays = CloseCode::Moved.code().into();
    let may_stay = matches!(
        fault,
        Fault::Connection(ConnectionError::ApplicationClosed(close)) if close.error_code == stays
    );
    may_stay || end == End::Reattached
}

/// When it is that many seconds after the Unix epoch; `None` if that is too far to wait for.
fn at_unix(seconds: u64, now: Instant) -> Option<Instant> {
    now.checked_add(Duration::from_millis(seconds.checked_mul(1000)?.saturating_sub(unix_ms())))
}
