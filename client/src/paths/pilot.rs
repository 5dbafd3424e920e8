//! The one task of a session that owns its sockets: it carries attempts to migrate out, and asks whether the relay is still heard.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_protocol::attachment::Slot;
use baton_protocol::class::FailureClass;
use baton_protocol::datagram::{PADDED, padded_echo, path_confirm};
use baton_protocol::frame::{Frame, RouteId};
use baton_protocol::path::attempt::{Attempt, CONFIRM_DEADLINE, Output, Step};
use baton_protocol::path::probe::{LENGTH, probe, read_reply};
use baton_protocol::path::report::PathReport;
use baton_protocol::path::silence::Silence;
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;

use super::follow::Follow;
use super::{Migrated, MigrationError, News, Order, PathLink, Probed, Reply};
use crate::session::Input;
use crate::session::queue::lock;
use crate::session::suspicion::counters;
use crate::transport::Sockets;

/// How often silence is looked at while something may be due, and else.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// How long an attempt waits for probe ids. They come with the answer to the report of the attempt before.
const WAIT_FOR_IDS: Duration = Duration::from_millis(500);

/// What a pilot needs.
#[derive(Debug)]
pub(crate) struct Pilot {
    pub(crate) slot: Slot,
    pub(crate) connection: Connection,
    pub(crate) endpoint: Endpoint,
    /// A second handle of the socket that the endpoint uses.
    pub(crate) socket: UdpSocket,
    pub(crate) sockets: Sockets,
    pub(crate) link: Arc<PathLink>,
    /// To the relay, by the control stream.
    pub(crate) control: mpsc::Sender<Bytes>,
    pub(crate) inputs: mpsc::Sender<(Slot, Input)>,
    /// The last number that an attempt of this client was given.
    pub(crate) numbers: Arc<AtomicU64>,
    /// How long a probe may take.
    pub(crate) probe_deadline: Duration,
}

/// What an attempt is for, and who waits for it.
#[derive(Debug)]
enum Goal {
    /// To know whether the path works.
    Probe(Reply<(u64, Probed)>),
    /// To use it. Nobody waits if it is the client's own idea.
    Migrate(Option<Reply<Migrated>>),
}

#[derive(Debug)]
struct Current {
    attempt: Attempt,
    goal: Goal,
    fresh: Arc<UdpSocket>,
    /// Reads replies, until the session uses the path.
    probing: Option<tokio::net::UdpSocket>,
    probed: Option<Probed>,
    /// To go back to, once the session uses the path.
    before: Option<UdpSocket>,
    /// The client's own idea: its machine has another address.
    follows: bool,
}

/// How an attempt ended that nobody has asked for yet.
type Last = (u64, Result<Migrated, MigrationError>);

#[derive(Debug)]
struct Work {
    pilot: Pilot,
    ids: Vec<RouteId>,
    relay_knows: bool,
    current: Option<Current>,
    last: Option<Last>,
    silence: Silence,
    look_at: Instant,
    follow: Follow,
}

impl Pilot {
    /// Runs until the session ends.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let now = Instant::now();
        let remote = self.connection.remote_address();
        let mut work = Work {
            silence: Silence::new(counters(&self.connection), now),
            follow: Follow::new(self.sockets.clone(), remote, now),
            pilot: self,
            ids: Vec::new(),
            relay_knows: false,
            current: None,
            last: None,
            look_at: now,
        };
        let mut buffer = [0; LENGTH + 1];
        loop {
            work.turn(Instant::now()).await;
            let timeout = work.poll_timeout();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => work.order(order, Instant::now()),
                    None => return,
                },
                length = received(work.current.as_ref(), &mut buffer) => {
                    work.reply(&buffer[..length], Instant::now());
                }
                () = tokio::time::sleep_until(timeout.into()) => {}
            }
        }
    }
}

/// The length of the next packet that comes over a path which is being probed.
async fn received(current: Option<&Current>, buffer: &mut [u8]) -> usize {
    match current.and_then(|current| current.probing.as_ref()) {
        // An error reports an earlier packet of ours, that nobody took.
        Some(socket) => socket.recv(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

impl Work {
    fn poll_timeout(&self) -> Instant {
        let attempt = self.current.as_ref().and_then(|current| current.attempt.poll_timeout());
        [attempt, self.follow.poll_timeout()].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    /// Does what is due.
    async fn turn(&mut self, now: Instant) {
        self.look(now);
        let abandoned = self.current.as_mut().filter(|current| current.is_abandoned());
        if let Some(current) = abandoned {
            current.attempt.give_up(FailureClass::Cancelled, now);
        }
        while let Some(output) =
            self.current.as_mut().and_then(|current| current.attempt.poll_output(now))
        {
            match output {
                Output::Probe => self.send_probe(now).await,
                Output::Confirm { nonce } => self.send_confirm(nonce),
                Output::Ended(report) => self.ended(report, now).await,
            }
        }
        let probing = self.current.as_ref().filter(|current| {
            current.attempt.step() == Some(Step::Probe) && current.before.is_none()
        });
        let probing = probing.map(|current| (current.attempt.number(), now));
        let mut known = lock(&self.pilot.link.probing);
        if known.map(|(number, _)| number) != probing.map(|(number, _)| number) {
            *known = probing;
        }
    }

    /// Looks whether nothing comes that should, and whether the machine has another address.
    fn look(&mut self, now: Instant) {
        if self.look_at <= now {
            let connection = &self.pilot.connection;
            let counters = counters(connection);
            if self.silence.look(counters, connection.rtt(), now) {
                tracing::debug!("nothing is heard: the relay is asked");
                let echo = padded_echo(rand::random(), padded(connection));
                let _ = connection.send_datagram(echo);
                self.follow.hurry(now);
            }
            let tense = self.silence.is_tense(counters, now);
            self.look_at = now + if tense { LOOKS.0 } else { LOOKS.1 };
        }
        if self.current.is_none() && self.follow.look(now) {
            match self.pilot.sockets.make(self.pilot.connection.remote_address()) {
                Ok(socket) => {
                    tracing::info!("this machine has another address: the session follows");
                    self.begin(Arc::new(socket), Goal::Migrate(None), now);
                }
                Err(error) => {
                    tracing::debug!(%error, "there is no socket for another address");
                    self.follow.failed(now);
                }
            }
        }
    }

    fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Probe { socket, reply } => self.begin(socket, Goal::Probe(reply), now),
            Order::Migrate { socket, reply } => self.begin(socket, Goal::Migrate(Some(reply)), now),
            Order::Switch { socket, probed, reply } => {
                let switched = self.take_over(socket, probed, now);
                let _ = reply.send(switched);
            }
            Order::Confirm { number, reply } => self.await_end(number, reply),
            Order::RollBack { number, reply } => self.roll_back(number, reply, now),
            Order::News(news) => self.news(news, now),
        }
    }

    fn news(&mut self, news: News, now: Instant) {
        let attempt = self.current.as_mut().map(|current| &mut current.attempt);
        match (news, attempt) {
            (News::Knows, _) => self.relay_knows = true,
            (News::Probes(ids), _) => self.ids = ids,
            (News::Echo(nonce), Some(attempt)) => attempt.handle_echo(nonce, now),
            (News::Confirmed(number), Some(attempt)) => attempt.handle_confirmed(number, now),
            // A relay that knows nothing of attempts is asked by an echo with the number.
            (News::EchoReply(nonce), Some(attempt)) if !self.relay_knows => {
                attempt.handle_confirmed(u64::from_be_bytes(nonce), now);
            }
            (News::Echo(_) | News::Confirmed(_) | News::EchoReply(_), _) => {}
        }
    }

    /// Begins an attempt, if there is none.
    fn begin(&mut self, fresh: Arc<UdpSocket>, goal: Goal, now: Instant) {
        let follows = matches!(goal, Goal::Migrate(None));
        if self.current.is_some() {
            return goal.fail(MigrationError::Busy);
        }
        let socket = fresh.set_nonblocking(true).and_then(|()| fresh.try_clone());
        let probing = match socket.and_then(tokio::net::UdpSocket::from_std) {
            Ok(probing) => Some(probing),
            Err(error) => return goal.fail(MigrationError::Add(error)),
        };
        let attempt = Attempt::probe(self.next_number(), self.pilot.probe_deadline, now);
        let (probed, before) = (None, None);
        self.current = Some(Current { attempt, goal, fresh, probing, probed, before, follows });
    }

    fn next_number(&self) -> u64 {
        self.pilot.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A packet came over the path that is being probed.
    fn reply(&mut self, packet: &[u8], now: Instant) {
        let Some((id, said)) = read_reply(packet) else { return };
        let Some(current) = &mut self.current else { return };
        let Some(rtt) = current.attempt.handle_reply(id, now) else { return };
        let probed = Probed { rtt, observed: said.observed, ingress: said.ingress };
        tracing::debug!(?probed, "a new path works");
        current.probed = Some(probed);
        match self.current.take_if(|current| matches!(current.goal, Goal::Probe(_))) {
            None => self.switch(now),
            Some(current) => {
                if let Goal::Probe(reply) = current.goal {
                    let _ = reply.send(Ok((current.attempt.number(), probed)));
                }
            }
        }
    }

    /// An owner's order to use a path, which may have been probed.
    fn take_over(
        &mut self,
        fresh: Arc<UdpSocket>,
        probed: Option<(u64, Probed)>,
        now: Instant,
    ) -> Result<u64, MigrationError> {
        if self.current.is_some() {
            return Err(MigrationError::Busy);
        }
        let number = probed.map_or_else(|| self.next_number(), |(number, _)| number);
        let probed = probed.map(|(_, probed)| probed);
        let (probing, before, follows) = (None, None, false);
        let (attempt, goal) = (Attempt::unprobed(number, now), Goal::Migrate(None));
        self.current = Some(Current { attempt, goal, fresh, probing, probed, before, follows });
        self.switch(now);
        match self.last.take_if(|(ended, _)| *ended == number) {
            Some((_, Err(error))) => Err(error),
            _ => Ok(number),
        }
    }

    /// Puts the session on the new path.
    fn switch(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        current.probing = None;
        match rebind(&self.pilot.endpoint, &current.fresh) {
            Ok(socket) => {
                current.before = Some(std::mem::replace(&mut self.pilot.socket, socket));
                let rtt = current.probed.map_or_else(|| self.pilot.connection.rtt(), |p| p.rtt);
                current.attempt.switched(rtt, CONFIRM_DEADLINE, now);
                self.pilot.link.confirming.store(self.relay_knows, Ordering::Release);
            }
            Err(error) => {
                if let Some(current) = self.current.take() {
                    let number = current.attempt.number();
                    current.goal.end(number, Err(MigrationError::Switch(error)), &mut self.last);
                }
            }
        }
    }

    fn await_end(&mut self, number: u64, reply: Reply<Migrated>) {
        if let Some((_, end)) = self.last.take_if(|(ended, _)| *ended == number) {
            let _ = reply.send(end);
        } else if let Some(current) =
            self.current.as_mut().filter(|current| current.attempt.number() == number)
        {
            current.goal = Goal::Migrate(Some(reply));
        } else {
            let _ = reply.send(Err(MigrationError::SessionEnded));
        }
    }

    fn roll_back(&mut self, number: u64, reply: Reply<()>, now: Instant) {
        let current = self.current.as_mut().map(|current| &mut current.attempt);
        if let Some(attempt) = current.filter(|attempt| attempt.number() == number) {
            attempt.give_up(FailureClass::Cancelled, now);
        }
        let _ = reply.send(Ok(()));
    }

    /// Sends a probe, if there is an id for one. A relay that gives none for so long will not: then the path is used unprobed.
    async fn send_probe(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        if let Some(id) = self.ids.pop() {
            current.attempt.sent(id, now);
            if let Some(socket) = &current.probing {
                let remote = self.pilot.connection.remote_address();
                // What cannot be sent is lost, as on any network.
                let _ = socket.send_to(&probe(&id), remote).await;
            }
        } else if current.attempt.lacks_ids(WAIT_FOR_IDS, now)
            && matches!(current.goal, Goal::Migrate(_))
        {
            self.switch(now);
        }
    }

    fn send_confirm(&self, nonce: [u8; 8]) {
        let Some(current) = &self.current else { return };
        let (connection, number) = (&self.pilot.connection, current.attempt.number());
        let confirm = if self.relay_knows {
            path_confirm(number, nonce, padded(connection))
        } else {
            padded_echo(number.to_be_bytes(), padded(connection))
        };
        let _ = connection.send_datagram(confirm);
    }

    /// An attempt came to its end.
    async fn ended(&mut self, report: PathReport, now: Instant) {
        let Some(current) = self.current.take() else { return };
        self.pilot.link.confirming.store(false, Ordering::Release);
        let PathReport { attempt: number, failed, took } = report;
        let local = self.pilot.socket.local_addr().ok();
        let end = match (failed, current.before) {
            (None, _) => Ok(Migrated { local, took }),
            (Some(class), before) => {
                let switched = before.is_some();
                // Before the report, so that it goes by the path that works.
                if let Some(before) = before
                    && let Err(error) = rebind(&self.pilot.endpoint, &before)
                        .map(|socket| self.pilot.socket = socket)
                {
                    tracing::warn!(%error, "the session cannot go back to its old path");
                }
                Err(match class {
                    FailureClass::Cancelled => MigrationError::TakenBack,
                    _ if switched => MigrationError::Confirm { after: took },
                    _ => MigrationError::Probe { after: took },
                })
            }
        };
        if current.follows {
            match &end {
                Ok(_) => self.follow.migrated(),
                Err(_) => self.follow.failed(now),
            }
        }
        self.report(report);
        let observed = current.probed.map(|probed| probed.observed);
        let told = match &end {
            Ok(migrated) => Ok((migrated.local.or(local), observed)),
            Err(error) => Err(error.class()),
        };
        current.goal.end(number, end, &mut self.last);
        // The driver outlives its sessions, unless it was aborted.
        let _ = self.pilot.inputs.send((self.pilot.slot, Input::PathEnded(told))).await;
    }

    fn report(&self, report: PathReport) {
        tracing::info!(?report, "path migration");
        if !self.relay_knows {
            return;
        }
        // A relay that does not take it is as good as gone; then the session says so.
        let _ = self.pilot.control.try_send(Frame::PathReport(report).encode());
    }
}

impl Current {
    /// Nobody waits for what it could still find out.
    fn is_abandoned(&self) -> bool {
        self.attempt.step() == Some(Step::Probe)
            && match &self.goal {
                Goal::Probe(reply) => reply.is_closed(),
                Goal::Migrate(reply) => reply.as_ref().is_some_and(Reply::is_closed),
            }
    }
}

impl Goal {
    fn fail(self, error: MigrationError) {
        self.end(0, Err(error), &mut None);
    }

    /// Tells whoever waits. If nobody does, it is kept for who may ask.
    fn end(self, number: u64, end: Result<Migrated, MigrationError>, last: &mut Option<Last>) {
        match (self, end) {
            (Self::Migrate(Some(reply)), end) => drop(reply.send(end)),
            (Self::Migrate(None), end) => *last = Some((number, end)),
            (Self::Probe(reply), Err(error)) => drop(reply.send(Err(error))),
            // A probe that is answered has ended before.
            (Self::Probe(_), Ok(_)) => {}
        }
    }
}

/// What is said about a path has this size.
pub(crate) fn padded(connection: &Connection) -> usize {
    connection.max_datagram_size().unwrap_or(0).min(PADDED)
}

/// Has the endpoint use this socket. Gives a handle of it.
fn rebind(endpoint: &Endpoint, socket: &UdpSocket) -> io::Result<UdpSocket> {
    let kept = socket.try_clone()?;
    endpoint.rebind(socket.try_clone()?)?;
    Ok(kept)
}
