//! The one task that owns a client's attachment: it tells [`Attachment`] what happens and carries out what that says.
//!
//! It waits for nobody: what it hands out goes to bounded channels without waiting, and a relay that does not take it is
//! treated as lost. So sessions may wait for the driver, and there is no circle.

mod policy;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use baton_protocol::attachment::{Attachment, Closed, Event, Output, Slot};
use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, Limited, Renewed, Welcome};
use baton_protocol::id::{Instance, PeerId};
use baton_protocol::path::report::PathReport;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::client::{Home, Shared};
use crate::config::ClientConfig;
use crate::events;
use crate::policy::{Change, Policies, Reply as PolicyReply};
use crate::presence::{TooManyWatches, Watcher, Watches};
use crate::profile::TokenSource;
use crate::renewal::{RenewError, Renewals, Reply};
use crate::session::dial::Dial;
use crate::session::queue::{SendQueue, lock};
use crate::session::suspicion::{Patience, Suspicion, Verdict, counters};
use crate::session::{Established, Input, Session};
use crate::transport::{Hints, Outer};

/// How often silence is judged. A suspicion of three seconds is up to this late.
const LOOK: Duration = Duration::from_millis(250);

/// How often what nobody needs is looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// How long sessions may take to close at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Inputs of sessions that wait for the driver; the sessions wait when it is full.
const INPUTS: usize = 256;

/// Attempts to migrate that wait to be reported; the oldest goes.
const UNREPORTED: usize = 16;

/// Where this client is, and where its relay sees it, as far as that has become known.
type Ends = (Option<SocketAddr>, Option<SocketAddr>);

/// What the owner asks.
#[derive(Debug)]
pub(crate) enum Command {
    /// Tell me about this peer.
    Watch(PeerId, oneshot::Sender<Result<Watcher, TooManyWatches>>),
    /// Show this access token to the relay.
    Renew(Bytes, Reply),
    /// Let others in than before.
    Policy(Change, PolicyReply),
    /// It is over.
    Close,
}

#[derive(Debug)]
struct Connection {
    /// The order to close; dropping it closes too.
    close: oneshot::Sender<CloseCode>,
    queue: Arc<SendQueue>,
    session: Option<(Established, Box<Welcome>)>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Driver {
    config: ClientConfig,
    outer: Outer,
    instance: Instance,
    shared: Arc<Shared>,
    attachment: Attachment,
    connections: BTreeMap<Slot, Connection>,
    sessions: JoinSet<()>,
    inputs: mpsc::Sender<(Slot, Input)>,
    watches: Watches,
    renewals: Renewals,
    policies: Policies,
    /// The session in use and its silence.
    current: Option<(Slot, Suspicion)>,
    attempts: usize,
    /// The last number that an attempt to migrate was given, in whichever session.
    path_numbers: Arc<AtomicU64>,
    /// Attempts to migrate that no relay knows of yet.
    unreported: VecDeque<PathReport>,
}

impl Driver {
    pub(crate) fn new(
        config: ClientConfig,
        outer: Outer,
        shared: Arc<Shared>,
    ) -> (Self, mpsc::Receiver<(Slot, Input)>) {
        let (inputs, inputs_out) = mpsc::channel(INPUTS);
        let attachment = Attachment::new(config.timing, rand::random(), Instant::now());
        let policies = Policies::new(config.policy.clone(), shared.inbound.clone());
        let driver = Self {
            attachment,
            policies,
            config,
            outer,
            instance: Instance::from_bytes(rand::random()),
            shared,
            connections: BTreeMap::new(),
            sessions: JoinSet::new(),
            inputs,
            watches: Watches::new(),
            renewals: Renewals::default(),
            current: None,
            attempts: 0,
            path_numbers: Arc::default(),
            unreported: VecDeque::new(),
        };
        (driver, inputs_out)
    }

    /// Runs until the owner says close, or is gone.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<(Slot, Input)>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            self.carry_out();
            let timer = self.attachment.poll_timeout();
            tokio::select! {
                Some((slot, input)) = inputs.recv() => self.input(slot, input),
                command = commands.recv() => match command {
                    Some(Command::Watch(peer, reply)) => self.watch(peer, reply),
                    Some(Command::Renew(token, reply)) => self.renew(token, Some(reply)),
                    Some(Command::Policy(change, reply)) => self.change_policy(change, reply),
                    Some(Command::Close) | None => break,
                },
                token = self.renewals.newer(&self.config.profile.token) => self.renew(token, None),
                () = self.shared.routes.wanted.notified() => self.open_routes(),
                () = until(timer) => self.attachment.handle_timeout(Instant::now()),
                _ = look.tick() => self.look(),
                _ = sweep.tick() => self.sweep(),
                Some(ended) = self.sessions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a session task ended by itself");
                    }
                }
            }
        }
        self.attachment.close_all();
        self.carry_out();
        let all = async { while self.sessions.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
        self.sessions.shutdown().await;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.attachment.poll_output() {
            match output {
                Output::Dial { slot, intent, ticket, route_ids } => {
                    let before = self.current.as_ref().and_then(|(home, _)| self.session(*home));
                    let hints = before
                        .filter(|_| intent != Intent::Fresh)
                        .map(|(session, _)| Hints::of(&session.connection));
                    let route = route_ids.get(self.attempts % route_ids.len().max(1)).copied();
                    let dial = Dial {
                        outer: self.outer.clone(),
                        profile: self.config.profile.clone(),
                        identity: self.config.identity.clone(),
                        instance: self.instance,
                        intent,
                        ticket,
                        route,
                        policy_first: self.policies.comes_first(slot),
                        attempt: self.attempts,
                        begun: Instant::now(),
                        hints,
                    };
                    self.attempts += 1;
                    tracing::debug!(?slot, intent = intent.name(), "dial");
                    self.start(slot, dial);
                }
                Output::Send { slot, frame } => self.write(slot, &[frame]),
                Output::Use { slot } => self.use_session(slot),
                Output::Close { slot, code } => self.close(slot, code),
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn start(&mut self, slot: Slot, dial: Dial) {
        let (close, closing) = oneshot::channel();
        let queue =
            Arc::new(SendQueue::new(self.shared.routes.room.clone(), self.shared.dropped.clone()));
        let session = Session {
            slot,
            dial,
            queue: queue.clone(),
            inbound: self.shared.inbound.clone(),
            inputs: self.inputs.clone(),
            path_numbers: self.path_numbers.clone(),
            probe_deadline: self.config.options.probe,
            keep_alive: self.config.options.keep_alive,
        };
        self.sessions.spawn(session.run(closing));
        self.connections.insert(slot, Connection { close, queue, session: None });
    }

    fn close(&mut self, slot: Slot, code: CloseCode) {
        if let Some(connection) = self.connections.remove(&slot) {
            let _ = connection.close.send(code);
        }
        self.forget(slot);
    }

    fn forget(&mut self, slot: Slot) {
        self.connections.remove(&slot);
        self.policies.closed(slot);
        self.shared.routes.closed(slot);
        if self.current.take_if(|(current, _)| *current == slot).is_some() {
            self.renewals.lost();
            lock(&self.shared.home).take();
        }
    }

    fn session(&self, slot: Slot) -> Option<&(Established, Box<Welcome>)> {
        self.connections.get(&slot).and_then(|connection| connection.session.as_ref())
    }

    fn write(&mut self, slot: Slot, frames: &[Frame]) {
        let Some((session, _)) = self.session(slot) else { return };
        if !session.write(frames) {
            tracing::warn!(?slot, "the relay does not read what is written to it");
            self.close(slot, CloseCode::Internal);
            self.attachment.handle_closed(
                slot,
                Closed::Lost(FailureClass::ApplicationCloseLocal),
                Instant::now(),
            );
        }
    }

    fn use_session(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get(&slot) else { return };
        let Some((session, welcome)) = &connection.session else { return };
        self.renewals.using(session.shown);
        let routes = usize::try_from(welcome.max_routes).unwrap_or(usize::MAX);
        self.watches.limit = usize::try_from(welcome.max_watches).unwrap_or(usize::MAX);
        let (patience, counters) =
            (Patience::from(&self.config.options), counters(&session.connection));
        self.current = Some((slot, Suspicion::new(patience, counters, Instant::now())));
        *lock(&self.shared.home) = Some(Home {
            connection: session.connection.clone(),
            local: session.local,
            observed: welcome.observed,
            paths: session.paths.clone(),
        });
        self.shared.routes.use_session(slot, connection.queue.clone(), routes);
        let frames = self.watches.frames();
        self.write(slot, &frames);
        self.forget_strangers();
        self.look_at_policy();
    }

    fn event(&mut self, event: Event) {
        tracing::info!(?event, "attachment");
        lock(&self.shared.status).note(&event);
        match &event {
            Event::MayStay => {
                if let Some((slot, _)) = self.current {
                    self.shared.routes.may_ask_again(slot);
                    self.open_routes();
                }
            }
            // What was on its way when the session changed may be lost: recovery begins with whatever is sent next.
            Event::HandedOver { .. } | Event::Reclaimed { .. } | Event::Resumed { .. } => {
                self.shared.peers.poke(None);
            }
            _ => {}
        }
        self.shared.tell(event.into());
    }

    fn input(&mut self, slot: Slot, input: Input) {
        let now = Instant::now();
        if let Input::Unreported(report) = input {
            return self.unreported(report);
        }
        // What the driver has closed may still have said something.
        let Some(connection) = self.connections.get_mut(&slot) else { return };
        match input {
            Input::Welcome(session, welcome) => {
                connection.session = Some((*session, welcome.clone()));
                // Before ACTIVE, so that every OPENED is here before ACTIVE_OK, and all routes move at once. And before all that the
                // policy, so that nothing comes which is not let in.
                let mut frames = self.policies.welcomed(slot, now);
                frames.extend(self.shared.routes.open_frames(slot));
                self.write(slot, &frames);
                self.attachment.handle_welcome(slot, &welcome, now);
            }
            Input::Refused(refused) => {
                self.forget(slot);
                self.attachment.handle_refused(slot, refused, now);
            }
            Input::DialFailed(failure, problem) => {
                tracing::info!(?slot, ?failure, problem, "a dial failed");
                lock(&self.shared.status).last_problem = Some(problem);
                self.forget(slot);
                self.attachment.handle_dial_failure(slot, failure, now);
            }
            Input::Closed(how) => {
                self.forget(slot);
                self.attachment.handle_closed(slot, how, now);
            }
            Input::Frame(frame) => self.frame(slot, frame, now),
            Input::Migrated => {
                let relay = {
                    let mut status = lock(&self.shared.status);
                    status.migrations += 1;
                    status.relay
                };
                self.shared.tell(events::Event::Migrated { relay });
            }
            Input::PathEnded(ended) => self.path_ended(slot, ended),
            Input::Unreported(_) => {}
        }
    }

    fn path_ended(&self, slot: Slot, ended: Result<Ends, FailureClass>) {
        let mut status = lock(&self.shared.status);
        let event = match ended {
            Ok(_) => {
                status.migrations += 1;
                events::Event::Migrated { relay: status.relay }
            }
            Err(class) => {
                *status.failed_migrations.entry(class).or_default() += 1;
                events::Event::MigrationFailed { class }
            }
        };
        drop(status);
        let in_use = self.current.as_ref().is_some_and(|(current, _)| *current == slot);
        if let (Ok((local, observed)), true) = (ended, in_use) {
            if let Some(home) = lock(&self.shared.home).as_mut() {
                home.local = local.or(home.local);
                home.observed = observed.unwrap_or(home.observed);
            }
            // What was on its way may be lost.
            self.shared.peers.poke(None);
        }
        self.shared.tell(event);
    }

    /// An attempt to migrate ended with its session. The next relay is told, and counts it.
    fn unreported(&mut self, report: PathReport) {
        if let Some(class) = report.failed {
            *lock(&self.shared.status).failed_migrations.entry(class).or_default() += 1;
            self.shared.tell(events::Event::MigrationFailed { class });
        }
        if self.unreported.len() == UNREPORTED {
            self.unreported.pop_front();
        }
        self.unreported.push_back(report);
        if let Some((slot, _)) = self.current {
            self.report(slot);
        }
    }

    /// Tells a relay of the attempts that none knows of, if it takes reports.
    fn report(&mut self, slot: Slot) {
        if self.session(slot).is_some_and(|(session, _)| session.takes_reports()) {
            let reports = std::mem::take(&mut self.unreported);
            let reports: Vec<_> = reports.into_iter().map(Frame::PathReport).collect();
            self.write(slot, &reports);
        }
    }

    fn frame(&mut self, slot: Slot, frame: Frame, now: Instant) {
        let in_use = self.current.as_ref().is_some_and(|(current, _)| *current == slot);
        match frame {
            Frame::Opened { alias } => {
                if let Some(peer) = self.shared.routes.opened(slot, alias) {
                    self.shared.peers.poke(Some(peer));
                }
            }
            Frame::Notice { alias, code } => self.shared.routes.notice(slot, alias, code),
            Frame::Presence { peer, state, .. } if in_use => {
                if self.watches.presence(peer, state) {
                    self.shared.tell(events::Event::Presence { peer, state });
                }
            }
            Frame::Resync if in_use => {
                let frames = self.watches.frames();
                self.write(slot, &frames);
            }
            Frame::Capabilities { known } => {
                if let Some((session, _)) = self.session(slot) {
                    session.capabilities(known);
                }
                self.report(slot);
                self.policies.knows(slot, known);
                self.look_at_policy();
                self.attachment.handle_frame(slot, frame, now);
            }
            Frame::RouteRefreshed { peer } => self.shared.peers.poke(Some(peer)),
            Frame::Limited(Limited { kind, allowed }) if in_use => {
                tracing::warn!(
                    limit = kind.name(),
                    allowed,
                    "the relay drops or refuses what is beyond"
                );
                self.shared.tell(events::Event::Limited { kind, allowed });
            }
            Frame::Ruled(ruled) => {
                self.policies.ruled(slot, ruled);
                self.look_at_policy();
            }
            Frame::Knock { peer } => self.knock(peer),
            Frame::RenewRefused(refused) if in_use => self.renewals.refused(refused),
            Frame::Renewed(renewed) if in_use => self.renewed(slot, renewed, now),
            frame => self.attachment.handle_frame(slot, frame, now),
        }
    }

    fn renew(&mut self, token: Bytes, reply: Option<Reply>) {
        let Some((slot, _)) = self.current else {
            reply.map(|reply| reply.send(Err(RenewError::NoSession)));
            return;
        };
        if let Some(frame) = self.renewals.ask(token, reply) {
            self.write(slot, &[frame]);
        }
    }

    fn renewed(&mut self, slot: Slot, renewed: Renewed, now: Instant) {
        if let Some(token) = self.renewals.renewed(&renewed) {
            // A file is its owner's to change; what was given once is replaced.
            let source = &mut Arc::make_mut(&mut self.config.profile).token;
            if !matches!(source, TokenSource::File(_)) {
                *source = TokenSource::Fixed(token);
            }
        }
        self.attachment.handle_frame(slot, Frame::Renewed(renewed), now);
    }

    fn watch(&mut self, peer: PeerId, reply: oneshot::Sender<Result<Watcher, TooManyWatches>>) {
        let added = self.watches.add(peer);
        if let (Ok((_, Some(frame))), Some((slot, _))) = (&added, &self.current) {
            let (slot, frame) = (*slot, frame.clone());
            self.write(slot, &[frame]);
        }
        let _ = reply.send(added.map(|(watcher, _)| watcher));
    }

    /// Opens what is not open, on every session that has its WELCOME.
    fn open_routes(&mut self) {
        let shuts = self.shared.routes.shut_frames();
        let welcomed = |(slot, connection): (&Slot, &Connection)| {
            connection.session.is_some().then_some(*slot)
        };
        let slots: Vec<Slot> = self.connections.iter().filter_map(welcomed).collect();
        for slot in slots {
            let mut frames = shuts.clone();
            frames.extend(self.shared.routes.open_frames(slot));
            self.write(slot, &frames);
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.look_at_policy();
        let Some((slot, suspicion)) = &mut self.current else { return };
        let slot = *slot;
        let session =
            self.connections.get(&slot).and_then(|connection| connection.session.as_ref());
        let Some((session, _)) = session else { return };
        match suspicion.judge(counters(&session.connection), now) {
            Verdict::Alive => self.attachment.handle_heard(slot),
            Verdict::Suspect => self.attachment.handle_suspect(slot, now),
            Verdict::Lost => {
                self.close(slot, CloseCode::Done);
                self.attachment.handle_closed(slot, Closed::Lost(FailureClass::IdleTimeout), now);
            }
        }
    }

    fn sweep(&mut self) {
        self.shared.routes.sweep(Instant::now());
        let frames = self.watches.sweep();
        if let Some((slot, _)) = self.current {
            self.write(slot, &frames);
        }
    }
}

async fn until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
