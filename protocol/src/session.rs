//! The relay's end of one session, after WELCOME: what each frame means, and what is a violation.
//!
//! ```text
//!            WELCOME{fresh, resume}
//!                    |
//!   WELCOME          v        MOVED
//!  {handover}      Home  ------------->  Moved
//!      |            ^
//!      v   ACTIVE   |            RECLAIM
//!   Standby --------+<---------------------- (from Home and Moved)
//! ```
//!
//! A client that sets its policy first is a standby until its POLICY, whatever its intent; and with intent `handover` until its
//! ACTIVE after that.
//!
//! GOAWAY is beside this: a session in any state may be asked to move, may acknowledge, and may be asked to stay after all.
//!
//! Frames go in by [`Session::handle_frame`], orders come out of [`Session::poll_order`]. The caller carries every order out,
//! in their order; those that are [`Order::Send`] go on the control stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::datagram::FIRST_ALIAS;
use crate::frame::{
    Frame, GoAway, GoAwayReason, Intent, LimitKind, Limited, NoticeCode, PeerState, PolicyMode,
    Refused, Renewed, RouteId, Rule, Ruled, Token,
};
use crate::id::{PeerId, RelayId, Stamp};
use crate::path::report::PathReport;
use crate::policy::{MAX_NAMES, TooManyNames};

/// How much a session may have at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Routes opened by the client.
    pub routes: usize,
    /// Watched peers.
    pub watches: usize,
    /// Senders with an alias; those beyond it stay in the long form.
    pub senders: usize,
}

impl Limits {
    /// What a relay allows that was told nothing else.
    pub const DEFAULT: Self = Self { routes: 256, watches: 1024, senders: 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the caller must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Write this on the control stream.
    Send(Frame),
    /// Announce the peer: it lives here from now. Answer with [`Session::announced`].
    Announce,
    /// Take datagrams with this alias to that peer.
    Open {
        /// Of the route.
        alias: u64,
        /// Its destination.
        peer: PeerId,
    },
    /// Take them no more.
    Shut {
        /// Of the route.
        alias: u64,
        /// The destination, if no other route leads there.
        last: Option<PeerId>,
    },
    /// The client knows this sender's alias: the long form is needed no more.
    SenderKnown {
        /// The sender.
        peer: PeerId,
        /// Its alias.
        alias: u64,
    },
    /// Report how this peer is, now and at every change, by [`Session::presence`].
    Watch {
        /// Whom.
        peer: PeerId,
    },
    /// Report it no more.
    Unwatch {
        /// Whom.
        peer: PeerId,
    },
    /// The client knows that it must move. Comes once per GOAWAY.
    Acknowledged,
    /// The client asked for one more than it may have of these: count it. It was answered.
    Beyond(LimitKind),
    /// Judge this newer access token. Answer with [`Session::renewed`].
    Renew {
        /// As it came.
        token: Token,
    },
    /// An attempt to migrate came to its end, as the client says. Answer with [`Session::probes`]: it may have used some.
    PathReport(PathReport),
    /// From the next datagram on, let in those of whom no rule says anything by this. Answer with [`Session::ruled`].
    Policy {
        /// Whom.
        mode: PolicyMode,
    },
    /// From the next datagram on, let these in or not. Answer with [`Session::ruled`].
    Rule(Rule),
    /// The client lives elsewhere now; forward there what still comes for it.
    Moved {
        /// Of its new attachment.
        stamp: Stamp,
        /// Where it is.
        relay: RelayId,
    },
    /// The session that the client went to, or was about to, has failed: announce the peer here again, under a stamp above all that
    /// is known and that of this ticket. Answer with [`Session::reclaimed`].
    Reclaim {
        /// Of the WELCOME that failed.
        ticket: Bytes,
    },
}

/// A client that breaks the protocol. The session is closed with `ProtocolViolation`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// This frame never comes from a client, or not now.
    #[error("a {0} frame must not come from a client now")]
    Unexpected(&'static str),
    /// An alias for two routes.
    #[error("the alias {0} is in use")]
    AliasInUse(u64),
    /// A sender's alias that was never given.
    #[error("the sender alias {0} was never given")]
    UnknownSender(u64),
    /// The answer to a GOAWAY that was not sent.
    #[error("GOAWAY_ACK {acknowledged}, where the last GOAWAY was {last}")]
    UnknownGoAway {
        /// By the client.
        acknowledged: u64,
        /// By us; zero if none.
        last: u64,
    },
}

/// How a session ended, as its relay saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// The client closed it.
    ClosedByClient,
    /// Another instance of the peer attached.
    Superseded,
    /// The same instance attached elsewhere.
    Reattached,
    /// GOAWAY's deadline came.
    Deadline,
    /// The connection was lost, or the client broke the protocol.
    Lost,
}

/// How a drain counts a session that ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// It serves elsewhere.
    Moved,
    /// Its client wanted no more, or there was nowhere to go.
    Left,
    /// It had acknowledged and was still here at the deadline.
    Forced,
    /// It never answered, or was lost: a ghost.
    Silent,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Moved, Self::Left, Self::Forced, Self::Silent];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Left => "left",
            Self::Forced => "forced",
            Self::Silent => "silent",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Standby,
    Home,
    Moved,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    sequence: u64,
    reason: GoAwayReason,
    acknowledged: bool,
}

/// What a GOAWAY says, apart from its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoAwayOrder {
    /// Why.
    pub reason: GoAwayReason,
    /// How long the session may stay; not zero.
    pub deadline: Duration,
    /// When it should begin to move.
    pub reconnect_after: Duration,
    /// Where it can go.
    pub route_ids: Vec<RouteId>,
    /// For the handover.
    pub ticket: Bytes,
}

/// The relay's end of one session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// It came to take over: it is a standby until its client says that it does.
    awaits_active: bool,
    /// It is a standby until its client has set its policy.
    awaits_policy: bool,
    limits: Limits,
    routes: BTreeMap<u64, PeerId>,
    watches: BTreeSet<PeerId>,
    senders: BTreeMap<PeerId, u64>,
    /// Those of them that the client knows to be of another group.
    strangers: BTreeSet<PeerId>,
    next_sender: u64,
    last_goaway: u64,
    goaway: Option<Outstanding>,
    presence_sequence: u64,
    /// The limits of which the client was told.
    told: BTreeSet<LimitKind>,
    orders: VecDeque<Order>,
}

impl Session {
    /// A session whose WELCOME was just sent.
    #[must_use]
    pub fn new(intent: Intent, limits: Limits) -> Self {
        let mut session = Self {
            phase: Phase::Standby,
            awaits_active: intent == Intent::Handover,
            awaits_policy: false,
            limits,
            routes: BTreeMap::new(),
            watches: BTreeSet::new(),
            senders: BTreeMap::new(),
            strangers: BTreeSet::new(),
            next_sender: FIRST_ALIAS,
            last_goaway: 0,
            goaway: None,
            presence_sequence: 0,
            told: BTreeSet::new(),
            orders: VecDeque::new(),
        };
        session.go_home();
        session
    }

    /// One whose client sets its policy first: until it has, nothing may come for it, so it is a standby and no home.
    #[must_use]
    pub fn with_policy_first(intent: Intent, limits: Limits) -> Self {
        let mut session = Self::new(intent, limits);
        session.awaits_policy = true;
        session.phase = Phase::Standby;
        session.orders.clear();
        session
    }

    /// A standby for which nothing is awaited any more is home.
    fn go_home(&mut self) {
        if self.phase == Phase::Standby && !self.awaits_active && !self.awaits_policy {
            self.phase = Phase::Home;
            self.orders.push_back(Order::Announce);
        }
    }

    /// What to do next.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Takes a frame of the client.
    pub fn handle_frame(&mut self, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::Open { alias, peer } => self.open(alias, peer)?,
            Frame::Shut { alias } => {
                if let Some(peer) = self.routes.remove(&alias) {
                    let last = !self.routes.values().any(|other| *other == peer);
                    self.orders.push_back(Order::Shut { alias, last: last.then_some(peer) });
                }
            }
            Frame::SenderOk { alias } => self.sender_known(alias)?,
            Frame::Watch { peer } => self.watch(peer),
            Frame::Unwatch { peer } => {
                if self.watches.remove(&peer) {
                    self.orders.push_back(Order::Unwatch { peer });
                }
            }
            Frame::GoAwayAck { sequence } => self.acknowledged(sequence)?,
            Frame::Renew { token } => self.orders.push_back(Order::Renew { token }),
            Frame::PathReport(report) => self.orders.push_back(Order::PathReport(report)),
            Frame::Policy { mode } => {
                self.orders.push_back(Order::Policy { mode });
                self.awaits_policy = false;
                self.go_home();
            }
            Frame::Rule(rule) => self.orders.push_back(Order::Rule(rule)),
            Frame::Active if self.awaits_active && !self.awaits_policy => {
                self.awaits_active = false;
                self.go_home();
            }
            Frame::Moved { stamp, relay } if self.phase == Phase::Home => {
                self.phase = Phase::Moved;
                self.orders.push_back(Order::Moved { stamp, relay });
                self.send(Frame::MovedOk);
            }
            Frame::Reclaim { ticket } if self.phase != Phase::Standby => {
                self.phase = Phase::Home;
                self.orders.push_back(Order::Reclaim { ticket });
            }
            other => return Err(Violation::Unexpected(other.name())),
        }
        Ok(())
    }

    /// The peer was announced under `stamp`, as [`Order::Announce`] asked.
    pub fn announced(&mut self, intent: Intent, stamp: Stamp) {
        if intent == Intent::Handover {
            self.send(Frame::ActiveOk { stamp });
        }
    }

    /// The peer was announced again under `stamp`, as [`Order::Reclaim`] asked. The ticket has that stamp.
    pub fn reclaimed(&mut self, stamp: Stamp, ticket: Bytes) {
        self.send(Frame::Reclaimed { stamp, ticket });
    }

    /// The token of [`Order::Renew`] was judged.
    pub fn renewed(&mut self, judged: Result<Renewed, Refused>) {
        self.send(match judged {
            Ok(renewed) => Frame::Renewed(renewed),
            Err(refused) => Frame::RenewRefused(refused),
        });
    }

    /// Gives the client ids for probes of new paths, in place of those before.
    pub fn probes(&mut self, ids: Vec<RouteId>) {
        self.send(Frame::Probes { ids });
    }

    /// What [`Order::Policy`] or [`Order::Rule`] said was done, or was too much.
    pub fn ruled(&mut self, done: Result<(), TooManyNames>) {
        let too_many = |TooManyNames| Ruled::TooMany { allowed: MAX_NAMES as u64 };
        self.send(Frame::Ruled(done.map_or_else(too_many, |()| Ruled::Kept)));
    }

    /// Asks the session to move. A GOAWAY that is still outstanding is withdrawn first, so that at most one is.
    pub fn go_away(&mut self, order: GoAwayOrder) {
        self.stay();
        self.last_goaway += 1;
        let sequence = self.last_goaway;
        self.goaway = Some(Outstanding { sequence, reason: order.reason, acknowledged: false });
        let GoAwayOrder { reason, deadline, reconnect_after, route_ids, ticket } = order;
        self.send(Frame::GoAway(Box::new(GoAway {
            sequence,
            reason,
            deadline,
            reconnect_after,
            route_ids,
            ticket,
        })));
    }

    /// Asks it to stay after all, if it was asked to move.
    pub fn stay(&mut self) {
        if let Some(goaway) = self.goaway.take() {
            self.send(Frame::GoAwayCancel { sequence: goaway.sequence });
        }
    }

    /// Reports a watched peer.
    pub fn presence(&mut self, peer: PeerId, state: PeerState) {
        if self.watches.contains(&peer) {
            self.report(peer, state);
        }
    }

    fn report(&mut self, peer: PeerId, state: PeerState) {
        self.presence_sequence += 1;
        let sequence = self.presence_sequence;
        self.send(Frame::Presence { sequence, peer, state });
    }

    /// A datagram of this sender came, who is of another group if it is a stranger: gives it an alias and announces it, the first
    /// time, if there is room.
    pub fn sender(&mut self, peer: PeerId, stranger: bool) {
        let is_known = self.senders.contains_key(&peer);
        if !is_known && self.senders.len() >= self.limits.senders {
            return;
        }
        // Who was one once is one for this session: that is the careful side.
        if stranger && self.strangers.insert(peer) {
            self.send(Frame::Stranger { peer });
        }
        if is_known {
            return;
        }
        let alias = self.next_sender;
        self.next_sender += 1;
        self.senders.insert(peer, alias);
        self.send(Frame::Sender { alias, peer });
    }

    /// Says that a route does not work.
    pub fn notice(&mut self, alias: u64, code: NoticeCode) {
        self.send(Frame::Notice { alias, code });
    }

    /// Says that a peer wants to send something, and is not let in.
    pub fn knock(&mut self, peer: PeerId) {
        self.send(Frame::Knock { peer });
    }

    /// Says that a peer at the other end of a route attached anew.
    pub fn refreshed(&mut self, peer: PeerId) {
        self.send(Frame::RouteRefreshed { peer });
    }

    /// Says that a limit was met, which allows so much. Each is told once.
    pub fn limited(&mut self, kind: LimitKind, allowed: u64) {
        if self.told.insert(kind) {
            self.send(Frame::Limited(Limited { kind, allowed }));
        }
    }

    /// Says that news of watched peers was dropped. The client watches again what it still wants to know.
    pub fn resync(&mut self) {
        self.watches.iter().for_each(|peer| self.orders.push_back(Order::Unwatch { peer: *peer }));
        self.watches.clear();
        self.send(Frame::Resync);
    }

    /// The name of the state that it is in.
    #[must_use]
    pub const fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Standby => "standby",
            Phase::Home => "home",
            Phase::Moved => "moved",
        }
    }

    /// The peers that it watches.
    #[must_use]
    pub fn watched(&self) -> Vec<PeerId> {
        self.watches.iter().copied().collect()
    }

    /// The peers that it has routes to.
    #[must_use]
    pub fn routed(&self) -> Vec<PeerId> {
        let peers: BTreeSet<_> = self.routes.values().copied().collect();
        peers.into_iter().collect()
    }

    /// The alias of a route to this peer.
    #[must_use]
    pub fn alias_to(&self, peer: &PeerId) -> Option<u64> {
        self.routes.iter().find(|(_, destination)| *destination == peer).map(|(alias, _)| *alias)
    }

    /// Whether this is where the peer lives.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.phase == Phase::Home
    }

    /// Whether the client acknowledged the GOAWAY that is outstanding.
    #[must_use]
    pub fn has_acknowledged(&self) -> bool {
        self.goaway.is_some_and(|goaway| goaway.acknowledged)
    }

    /// How a drain counts this session, if it ends like that.
    #[must_use]
    pub fn outcome(&self, end: End) -> Outcome {
        let closing = self.goaway.is_some_and(|goaway| goaway.reason == GoAwayReason::Closing);
        match end {
            _ if self.phase == Phase::Moved => Outcome::Moved,
            End::Reattached => Outcome::Moved,
            End::ClosedByClient | End::Superseded => Outcome::Left,
            End::Deadline if !self.has_acknowledged() => Outcome::Silent,
            End::Deadline if closing => Outcome::Left,
            End::Deadline => Outcome::Forced,
            End::Lost => Outcome::Silent,
        }
    }

    fn open(&mut self, alias: u64, peer: PeerId) -> Result<(), Violation> {
        if self.routes.contains_key(&alias) {
            return Err(Violation::AliasInUse(alias));
        }
        if self.goaway.is_some() || self.phase == Phase::Moved {
            self.send(Frame::Notice { alias, code: NoticeCode::GoingAway });
        } else if self.routes.len() >= self.limits.routes {
            self.send(Frame::Notice { alias, code: NoticeCode::TooMany });
            self.beyond(LimitKind::Routes, self.limits.routes as u64);
        } else {
            self.routes.insert(alias, peer);
            self.orders.push_back(Order::Open { alias, peer });
            self.send(Frame::Opened { alias });
        }
        Ok(())
    }

    fn sender_known(&mut self, alias: u64) -> Result<(), Violation> {
        let sender = self.senders.iter().find(|(_, given)| **given == alias);
        let (peer, _) = sender.ok_or(Violation::UnknownSender(alias))?;
        self.orders.push_back(Order::SenderKnown { peer: *peer, alias });
        Ok(())
    }

    /// Whoever asks gets an answer. Beyond the limit it is the only one, and says the least.
    fn watch(&mut self, peer: PeerId) {
        if self.watches.contains(&peer) {
            return;
        }
        if self.watches.len() < self.limits.watches {
            self.watches.insert(peer);
            self.orders.push_back(Order::Watch { peer });
        } else {
            self.report(peer, PeerState::Offline);
            self.beyond(LimitKind::Watches, self.limits.watches as u64);
        }
    }

    fn beyond(&mut self, kind: LimitKind, allowed: u64) {
        self.orders.push_back(Order::Beyond(kind));
        self.limited(kind, allowed);
    }

    /// An answer to an earlier GOAWAY may cross its withdrawal: it means nothing then.
    fn acknowledged(&mut self, sequence: u64) -> Result<(), Violation> {
        if sequence == 0 || sequence > self.last_goaway {
            return Err(Violation::UnknownGoAway {
                acknowledged: sequence,
                last: self.last_goaway,
            });
        }
        if let Some(goaway) = &mut self.goaway
            && goaway.sequence == sequence
            && !goaway.acknowledged
        {
            goaway.acknowledged = true;
            self.orders.push_back(Order::Acknowledged);
        }
        Ok(())
    }

    fn send(&mut self, frame: Frame) {
        self.orders.push_back(Order::Send(frame));
    }
}

#[cfg(test)]
mod tests;
