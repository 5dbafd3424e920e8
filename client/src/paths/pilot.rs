//! The one task of a session that owns its sockets: it carries attempts to migrate out.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_protocol::attachment::Slot;
use baton_protocol::class::FailureClass;
use baton_protocol::close::CloseCode;
use baton_protocol::datagram::{PADDED, padded_echo, path_confirm};
use baton_protocol::frame::{Frame, RouteId};
use baton_protocol::path::attempt::{Attempt, CONFIRM_DEADLINE, Output, Step};
use baton_protocol::path::probe::{LENGTH, probe, read_reply};
use baton_protocol::path::report::{Allowance, PathReport};
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;

use super::follow::Follow;
use super::goal::{Goal, Last};
use super::lookout::Lookout;
use super::{Migrated, MigrationError, News, Order, PathLink, Probed, Reply};
use crate::session::Input;
use crate::session::queue::lock;
use crate::transport::Sockets;

/// How long an attempt waits for probe ids, at most. They come with the answer to the report of the attempt before.
const WAIT_FOR_IDS: Duration = Duration::from_millis(400);

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
    /// How often the relay wants to hear something, and how often QUIC sends something by itself.
    pub(crate) keep_alive: (Duration, Duration),
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
}

#[derive(Debug)]
struct Work {
    pilot: Pilot,
    ids: Vec<RouteId>,
    relay_knows: bool,
    current: Option<Current>,
    last: Option<Last>,
    allowance: Allowance,
    lookout: Lookout,
    follow: Follow,
}

impl Pilot {
    /// Runs until the session ends.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let now = Instant::now();
        let (wanted, given) = self.keep_alive;
        let (bound, remote) = (bound_to(&self.socket), self.connection.remote_address());
        let mut work = Work {
            lookout: Lookout::new(&self.connection, wanted, given, now),
            follow: Follow::new(self.sockets.clone(), bound, remote, now),
            pilot: self,
            ids: Vec::new(),
            relay_knows: false,
            current: None,
            last: None,
            allowance: Allowance::new(now),
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
        let due = match &self.current {
            Some(current) => current.attempt.poll_timeout(),
            // Meanwhile nobody is followed.
            None => self.follow.poll_timeout(),
        };
        due.into_iter().fold(self.lookout.poll_timeout(), Instant::min)
    }

    /// Does what is due.
    async fn turn(&mut self, now: Instant) {
        if self.lookout.look(&self.pilot.connection, now) {
            self.follow.hurry(now);
        }
        if self.current.is_none() && self.follow.look(now) {
            self.follow(now);
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.is_abandoned()) {
            current.attempt.give_up(FailureClass::Cancelled, now);
        }
        self.do_without_ids(now);
        while let Some(output) =
            self.current.as_mut().and_then(|current| current.attempt.poll_output(now))
        {
            match output {
                Output::Probe => self.send_probe(now).await,
                Output::Confirm { nonce } => self.send_confirm(nonce),
                Output::Ended(report) => self.ended(report, now).await,
            }
        }
        self.note_what_is_probed(now);
    }

    /// Writes down what must be reported if the session ends now: the relay can know nothing of it.
    fn note_what_is_probed(&self, now: Instant) {
        let probing = self.current.as_ref().filter(|current| {
            current.attempt.step() == Some(Step::Probe) && current.before.is_none()
        });
        let probing = probing.map(|current| (current.attempt.number(), now));
        let mut known = lock(&self.pilot.link.probing);
        if known.map(|(number, _)| number) != probing.map(|(number, _)| number) {
            *known = probing;
        }
    }

    /// The machine has another address.
    fn follow(&mut self, now: Instant) {
        match self.pilot.sockets.make(self.pilot.connection.remote_address()) {
            Ok(socket) => {
                tracing::info!("this machine has another address: the session follows");
                self.begin(Arc::new(socket), Goal::Follow, now);
            }
            Err(error) => tracing::debug!(%error, "there is no socket for another address"),
        }
        if self.current.is_none() {
            self.follow.failed(now);
        }
    }

    fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Probe { socket, reply } => self.begin(socket, Goal::Probe(reply), now),
            Order::Migrate { socket, reply } => self.begin(socket, Goal::Migrate(reply), now),
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
            // Where the kernel chooses the address it has led the session to the new one already.
            (News::SeenElsewhere, None) if is_anywhere(&self.pilot.socket) => self.follow.settled(),
            (News::Echo(_) | News::Confirmed(_) | News::EchoReply(_) | News::SeenElsewhere, _) => {}
        }
    }

    /// Whether another attempt may begin now.
    fn may_begin(&mut self, now: Instant) -> Result<(), MigrationError> {
        if self.current.is_some() {
            return Err(MigrationError::Busy);
        }
        self.allowance.take_at_client(now).then_some(()).ok_or(MigrationError::TooOften)
    }

    /// Begins an attempt, if there is none.
    fn begin(&mut self, fresh: Arc<UdpSocket>, goal: Goal, now: Instant) {
        if let Err(error) = self.may_begin(now) {
            return goal.fail(error);
        }
        let socket = fresh.set_nonblocking(true).and_then(|()| fresh.try_clone());
        let probing = match socket.and_then(tokio::net::UdpSocket::from_std) {
            Ok(probing) => Some(probing),
            Err(error) => return goal.fail(MigrationError::Add(error)),
        };
        let attempt = Attempt::probe(self.next_number(), self.pilot.probe_deadline, now);
        let (probed, before) = (None, None);
        self.current = Some(Current { attempt, goal, fresh, probing, probed, before });
    }

    fn next_number(&self) -> u64 {
        self.pilot.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A relay that gives no probe ids for so long will not: then a path that is to be used is used unprobed.
    fn do_without_ids(&mut self, now: Instant) {
        let patience = WAIT_FOR_IDS.min(self.pilot.probe_deadline / 2);
        let lacking = |current: &Current| current.attempt.lacks_ids(patience, now);
        match self.current.as_mut().filter(|current| lacking(current)) {
            Some(current) if current.goal.is_use() => self.switch(now),
            Some(_) => {
                if let Some(current) = self.current.take() {
                    current.goal.fail(MigrationError::NoProbes);
                }
            }
            None => {}
        }
    }

    /// A packet came over the path that is being probed.
    fn reply(&mut self, packet: &[u8], now: Instant) {
        let Some((id, said)) = read_reply(packet) else { return };
        let Some(current) = &mut self.current else { return };
        let Some(rtt) = current.attempt.handle_reply(id, now) else { return };
        let probed = Probed { rtt, observed: said.observed, ingress: said.ingress };
        tracing::debug!(?probed, "a new path works");
        current.probed = Some(probed);
        if current.goal.is_use() {
            return self.switch(now);
        }
        if let Some(Current { attempt, goal: Goal::Probe(reply), .. }) = self.current.take() {
            // No migration, and counted as none; but its ids are used up, and the answer brings new ones.
            self.report(PathReport { attempt: attempt.number(), failed: None, took: rtt });
            let _ = reply.send(Ok(probed));
        }
    }

    /// An owner's order to use a path, which may have been probed.
    fn take_over(
        &mut self,
        fresh: Arc<UdpSocket>,
        probed: Option<Probed>,
        now: Instant,
    ) -> Result<u64, MigrationError> {
        self.may_begin(now)?;
        // Others may have been made since it was probed: a number that is not the latest would count for one that is over.
        let number = self.next_number();
        let (attempt, goal) = (Attempt::unprobed(number, now), Goal::Switched(None));
        let (probing, before) = (None, None);
        self.current = Some(Current { attempt, goal, fresh, probing, probed, before });
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
                if let Some(Current { attempt, goal, .. }) = self.current.take() {
                    if matches!(goal, Goal::Follow) {
                        self.follow.failed(now);
                    }
                    let (number, failed) = (attempt.number(), Some(FailureClass::Other));
                    self.report(PathReport { attempt: number, failed, took: Duration::ZERO });
                    goal.end(number, Err(MigrationError::Switch(error)), &mut self.last);
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
            current.goal = Goal::Switched(Some(reply));
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

    /// Sends a probe, if there is an id for one.
    async fn send_probe(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        let Some(id) = self.ids.pop() else { return };
        current.attempt.sent(id, now);
        if let Some(socket) = &current.probing {
            let remote = self.pilot.connection.remote_address();
            // What cannot be sent is lost, as on any network.
            let _ = socket.send_to(&probe(&id), remote).await;
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
        let Some(Current { goal, probed, before, .. }) = self.current.take() else { return };
        self.pilot.link.confirming.store(false, Ordering::Release);
        // It is reported now; and if the session ends meanwhile, not again.
        lock(&self.pilot.link.probing).take();
        let PathReport { attempt: number, failed, took } = report;
        let switched = before.is_some();
        if failed.is_some() {
            // Before the report, so that it goes by the path that works.
            before.into_iter().for_each(|before| self.go_back(&before));
        }
        let end = match failed {
            None => Ok(Migrated { local: self.pilot.socket.local_addr().ok(), took }),
            Some(FailureClass::Cancelled) => Err(MigrationError::TakenBack),
            Some(_) if switched => Err(MigrationError::Confirm { after: took }),
            Some(_) => Err(MigrationError::Probe { after: took }),
        };
        match (&end, &goal) {
            (Ok(_), _) => {
                self.follow.settled();
                self.lookout.confirmed(self.pilot.connection.rtt(), now);
            }
            (Err(_), Goal::Follow) => self.follow.failed(now),
            (Err(_), _) => {}
        }
        self.report(report);
        let told = match &end {
            Ok(migrated) => Ok((migrated.local, probed.map(|probed| probed.observed))),
            Err(error) => Err(error.class()),
        };
        goal.end(number, end, &mut self.last);
        // The driver outlives its sessions, unless it was aborted.
        let _ = self.pilot.inputs.send((self.pilot.slot, Input::PathEnded(told))).await;
    }

    /// Puts the session on the path that it had. If that fails there is no path that is known to work: the session ends, and
    /// the next one begins.
    fn go_back(&mut self, before: &UdpSocket) {
        match rebind(&self.pilot.endpoint, before) {
            Ok(socket) => self.pilot.socket = socket,
            Err(error) => {
                tracing::warn!(%error, "the session cannot go back to its old path, and ends");
                let code = CloseCode::Internal;
                self.pilot.connection.close(code.code().into(), code.name().as_bytes());
            }
        }
    }

    fn report(&self, report: PathReport) {
        tracing::info!(?report, "path migration");
        if self.relay_knows {
            // A relay that does not take it is as good as gone; then the session says so.
            let _ = self.pilot.control.try_send(Frame::PathReport(report).encode());
        }
    }
}

impl Current {
    /// Nobody waits for what it could still find out.
    fn is_abandoned(&self) -> bool {
        self.attempt.step() == Some(Step::Probe) && self.goal.is_abandoned()
    }
}

/// What is said about a path has this size.
pub(crate) fn padded(connection: &Connection) -> usize {
    connection.max_datagram_size().unwrap_or(0).min(PADDED)
}

/// Whether the kernel chooses from which address each of its packets leaves.
fn is_anywhere(socket: &UdpSocket) -> bool {
    socket.local_addr().is_ok_and(|address| address.ip().is_unspecified())
}

/// The address that a socket is bound to. None: to any.
fn bound_to(socket: &UdpSocket) -> Option<IpAddr> {
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Has the endpoint use this socket. Gives a handle of it.
fn rebind(endpoint: &Endpoint, socket: &UdpSocket) -> io::Result<UdpSocket> {
    let kept = socket.try_clone()?;
    endpoint.rebind(socket.try_clone()?)?;
    Ok(kept)
}
