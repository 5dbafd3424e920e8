//! The client's end: which relay a client is attached to, and how it gets to the next one.
//!
//! A client is attached to at most one relay, its *home*. While it moves it has a second connection, the *next* home, and for
//! a moment after that an *old* one whose last datagrams it still reads:
//!
//! ```text
//! nothing --dial fresh/resume--> next --WELCOME--> home
//! home + GOAWAY --dial handover--> home + next --WELCOME, ACTIVE, ACTIVE_OK--> old + home --MOVED_OK, linger--> home
//! home (suspect) --dial resume--> home + next --WELCOME--> home
//! home (lost) --dial resume--> next --WELCOME--> home
//! home + next (lost after ACTIVE) --RECLAIM--> home
//! old + home (lost) --RECLAIM--> home, which was old
//! ```
//!
//! The old connection is never given up before the new one serves (make before break), and a failed move is tried again
//! until GOAWAY's deadline, while the old session goes on working.
//!
//! The caller owns sockets and connections and names each by a [`Slot`]. It tells what happens with `handle_*`, and carries
//! out what [`Attachment::poll_output`] says, in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{
    CAPABILITY_RECLAIM, Frame, GoAway, GoAwayReason, Intent, Refused, Retry, RouteId, Welcome,
};
use crate::id::{RelayId, Stamp};

/// One connection of the client: a socket of its own and at most one session on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u64);

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the first packet of a dial to WELCOME.
    pub dial: Duration,
    /// From ACTIVE to ACTIVE_OK, and from MOVED to MOVED_OK.
    pub answer: Duration,
    /// How long the old connection is still read after the move.
    pub linger: Duration,
    /// The first pause between failed dials; it doubles.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// How often a dial that was turned away is made again at once, from a new port.
    pub turned_away: u32,
    /// A GOAWAY, or an end, that comes sooner after WELCOME than this looks like a loop, the second time in a row.
    pub quick_goaway: Duration,
    /// How much longer than GOAWAY says a move is held back. Zero, but for drills that want a session which acknowledges and
    /// does not go yet.
    pub move_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(5),
            answer: Duration::from_secs(3),
            linger: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            turned_away: 8,
            quick_goaway: Duration::from_secs(5),
            move_delay: Duration::ZERO,
        }
    }
}

/// Why a dial came to nothing before the relay spoke.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DialFailure {
    /// QUIC CONNECTION_REFUSED: the relay that the packets landed on goes away. Another port may land elsewhere.
    TurnedAway,
    /// Anything else.
    Failed(FailureClass),
}

/// How an established connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// The relay closed it with this code.
    ByRelay(CloseCode),
    /// It was lost.
    Lost(FailureClass),
}

/// What the caller must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect from a new socket and send HELLO.
    Dial {
        /// The name of the new connection.
        slot: Slot,
        /// For HELLO.
        intent: Intent,
        /// For HELLO; none with a fresh intent.
        ticket: Option<Bytes>,
        /// Where GOAWAY says that there is room.
        route_ids: Vec<RouteId>,
    },
    /// Write this on the control stream.
    Send {
        /// Of which connection.
        slot: Slot,
        /// What.
        frame: Frame,
    },
    /// From now on send datagrams, routes and watches here. Its readers must have run since WELCOME.
    Use {
        /// Which connection.
        slot: Slot,
    },
    /// Close it; stop dialing it if it is not connected yet.
    Close {
        /// Which connection.
        slot: Slot,
        /// With this code.
        code: CloseCode,
    },
    /// Tell whoever wants to know.
    Event(Event),
}

/// What happened to the attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Attached, where there was nothing before.
    Attached {
        /// To which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// GOAWAY came.
    MustMove {
        /// Why.
        reason: GoAwayReason,
        /// How long there is.
        deadline: Duration,
    },
    /// GOAWAY was withdrawn before the move began.
    MayStay,
    /// Moved without a gap.
    HandedOver {
        /// From which relay.
        from: RelayId,
        /// To which.
        to: RelayId,
        /// Under which stamp.
        stamp: Stamp,
        /// From the dial that succeeded to ACTIVE_OK.
        took: Duration,
    },
    /// A handover failed late, and the session that had not been left is home again.
    Reclaimed {
        /// At which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// Attached again after a loss.
    Resumed {
        /// To which relay.
        relay: RelayId,
        /// Under which stamp.
        stamp: Stamp,
    },
    /// An attempt to attach, move or resume failed; it will be made again.
    Failed {
        /// Which.
        intent: Intent,
        /// Why.
        class: FailureClass,
        /// What the relay said, if it refused.
        refused: Option<Refused>,
    },
    /// The session was lost.
    Lost {
        /// How.
        how: Closed,
    },
    /// It is over; nothing more will be tried.
    Ended(Ended),
}

/// Why nothing more will be tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Another process attached with the same key.
    Superseded,
    /// The pool is closing.
    Closing,
    /// The relay will never let us in with what we have.
    Refused(Refused),
    /// The owner closed it.
    ByOwner,
}

#[derive(Debug)]
struct Home {
    slot: Slot,
    relay: RelayId,
    welcomed: Instant,
    last_goaway: u64,
    goaway: Option<Outstanding>,
    suspect: bool,
    /// Of its WELCOME.
    ticket: Bytes,
    /// Its relay knows RECLAIM.
    takes_back: bool,
}

#[derive(Debug)]
struct Outstanding {
    sequence: u64,
    slot_at: Instant,
    route_ids: Vec<RouteId>,
}

#[derive(Debug)]
struct Next {
    slot: Slot,
    intent: Intent,
    started: Instant,
    until: Instant,
    /// Set once WELCOME has come and ACTIVE was sent.
    standby: Option<Standby>,
}

#[derive(Debug)]
struct Standby {
    relay: RelayId,
    last_goaway: u64,
    /// And when it came.
    goaway: Option<(GoAway, Instant)>,
    ticket: Bytes,
    takes_back: bool,
}

/// The session that was home before. It is read until then, and may be home again if its successor fails.
#[derive(Debug)]
struct Old {
    home: Home,
    until: Instant,
    confirmed: bool,
    /// Attempts that failed before the one that succeeded.
    failures: u32,
}

/// Which relay a client is attached to. See the [module](self).
#[derive(Debug)]
pub struct Attachment {
    timing: Timing,
    home: Option<Home>,
    next: Option<Next>,
    old: Option<Old>,
    ended: bool,
    /// Of the latest WELCOME or GOAWAY.
    ticket: Option<Bytes>,
    ever_attached: bool,
    dial_at: Instant,
    /// What that was before RECLAIM, which is not answered yet.
    after_reclaim: Option<Instant>,
    failures: u32,
    turned_away: u32,
    quick_goaways: u32,
    /// Homes in a row that ended soon after they began.
    quick_ends: u32,
    next_slot: u64,
    random: u64,
    outputs: VecDeque<Output>,
}

impl Attachment {
    /// A client without a relay, which will dial at once. `seed` is random: it spreads the pauses of many clients.
    #[must_use]
    pub fn new(timing: Timing, seed: u64, now: Instant) -> Self {
        let mut attachment = Self {
            timing,
            home: None,
            next: None,
            old: None,
            ended: false,
            ticket: None,
            ever_attached: false,
            dial_at: now,
            after_reclaim: None,
            failures: 0,
            turned_away: 0,
            quick_goaways: 0,
            quick_ends: 0,
            next_slot: 0,
            random: seed,
            outputs: VecDeque::new(),
        };
        attachment.drive(now);
        attachment
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dial = self.wants_to_dial().map(|(_, at)| at);
        let next = self.next.as_ref().map(|next| next.until);
        let old = self.old.as_ref().map(|old| old.until);
        [dial, next, old].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(next) = self.next.take_if(|next| next.until <= now) {
            self.close(next.slot, CloseCode::Done);
            self.failed(next.intent, FailureClass::HandshakeTimeout, None, now);
            self.take_back(next, now);
        }
        if let Some(old) = self.old.take_if(|old| old.until <= now) {
            self.close(old.home.slot, CloseCode::Moved);
        }
        self.drive(now);
    }

    /// WELCOME came. The caller's readers for this connection already run.
    pub fn handle_welcome(&mut self, slot: Slot, welcome: &Welcome, now: Instant) {
        let Some(next) = self.next.take_if(|next| next.slot == slot && next.standby.is_none())
        else {
            return self.close(slot, CloseCode::ProtocolViolation);
        };
        self.ticket = Some(welcome.ticket.clone());
        if next.intent == Intent::Handover {
            self.send(slot, Frame::Active);
            let standby = Some(Standby {
                relay: welcome.relay,
                last_goaway: 0,
                goaway: None,
                ticket: welcome.ticket.clone(),
                takes_back: false,
            });
            self.next = Some(Next { until: now + self.timing.answer, standby, ..next });
        } else {
            self.attach(&next, welcome, now);
        }
        self.drive(now);
    }

    /// REFUSED came. The relay closes the connection.
    pub fn handle_refused(&mut self, slot: Slot, refused: Refused, now: Instant) {
        let Some(next) = self.next.take_if(|next| next.slot == slot) else { return };
        self.close(slot, CloseCode::Done);
        match refused.retry {
            // What a session that still serves is told about its successor is no reason to end it.
            Retry::Never if self.home.is_none() => {
                self.end(Ended::Refused(refused), CloseCode::Done)
            }
            Retry::Never => self.failed(next.intent, FailureClass::Refused, Some(refused), now),
            Retry::Fresh => {
                self.ticket = None;
                self.failed(next.intent, FailureClass::Refused, Some(refused), now);
            }
            Retry::After(delay) => {
                self.failed(next.intent, FailureClass::Refused, Some(refused), now);
                self.dial_at = self.dial_at.max(now + delay);
            }
        }
        self.drive(now);
    }

    /// The dial of a connection failed before WELCOME or REFUSED.
    pub fn handle_dial_failure(&mut self, slot: Slot, failure: DialFailure, now: Instant) {
        let Some(next) = self.next.take_if(|next| next.slot == slot) else { return };
        match failure {
            DialFailure::TurnedAway if self.turned_away < self.timing.turned_away => {
                self.turned_away += 1;
                self.dial_at = now;
            }
            DialFailure::TurnedAway => {
                self.turned_away = 0;
                self.failed(next.intent, FailureClass::Refused, None, now);
            }
            DialFailure::Failed(class) => self.failed(next.intent, class, None, now),
        }
        self.drive(now);
    }

    /// A frame about the attachment came: CAPABILITIES, GOAWAY, GOAWAY_CANCEL, ACTIVE_OK, MOVED_OK, RECLAIMED or RENEWED. Others
    /// are none of its business.
    pub fn handle_frame(&mut self, slot: Slot, frame: Frame, now: Instant) {
        match frame {
            Frame::GoAway(goaway) => self.go_away(slot, *goaway, now),
            Frame::GoAwayCancel { sequence } => self.may_stay(slot, sequence),
            Frame::ActiveOk { stamp } => self.activated(slot, stamp, now),
            Frame::Capabilities { known } => self.knows(slot, known),
            Frame::Reclaimed { stamp, ticket } if self.home() == Some(slot) => {
                self.reclaimed(stamp, ticket);
            }
            // The earlier tickets end when the token before would have.
            Frame::Renewed(renewed) if self.home() == Some(slot) => {
                self.ticket = Some(renewed.ticket);
            }
            Frame::MovedOk => {
                let linger = now + self.timing.linger;
                if let Some(old) =
                    self.old.as_mut().filter(|old| old.home.slot == slot && !old.confirmed)
                {
                    old.confirmed = true;
                    old.until = linger;
                }
            }
            _ => {}
        }
        self.drive(now);
    }

    /// An established connection ended.
    pub fn handle_closed(&mut self, slot: Slot, how: Closed, now: Instant) {
        if how == Closed::ByRelay(CloseCode::Superseded) {
            return self.end(Ended::Superseded, CloseCode::Superseded);
        }
        if self.old.take_if(|old| old.home.slot == slot).is_some() {
            return;
        }
        let class = match how {
            Closed::ByRelay(_) => FailureClass::ApplicationCloseRemote,
            Closed::Lost(class) => class,
        };
        if let Some(next) = self.next.take_if(|next| next.slot == slot) {
            self.failed(next.intent, class, None, now);
            self.take_back(next, now);
        } else if self.home() == Some(slot) && self.go_back(how, class, now) {
            // The peer goes on where it was before.
        } else if let Some(home) = self.home.take_if(|home| home.slot == slot) {
            self.event(Event::Lost { how });
            if how == Closed::ByRelay(CloseCode::Closing) {
                return self.end(Ended::Closing, CloseCode::Done);
            }
            if how == Closed::ByRelay(CloseCode::TokenExpired) {
                // The ticket ended with the token.
                self.ticket = None;
            }
            self.dial_at = now + self.pause_after(&home, how, now);
        }
        self.drive(now);
    }

    /// The relay of a connection said what it knows.
    fn knows(&mut self, slot: Slot, known: u64) {
        let takes_back = known & CAPABILITY_RECLAIM != 0;
        if let Some(home) = self.home.as_mut().filter(|home| home.slot == slot) {
            home.takes_back = takes_back;
        }
        let next = self.next.as_mut().filter(|next| next.slot == slot);
        if let Some(standby) = next.and_then(|next| next.standby.as_mut()) {
            standby.takes_back = takes_back;
        }
    }

    /// A standby failed. Its relay may have announced the peer already, which the relay of the session that serves takes back.
    fn take_back(&mut self, failed: Next, now: Instant) {
        let Some(standby) = failed.standby else { return };
        if let Some(home) = self.home.as_ref().filter(|home| home.takes_back) {
            self.reclaim(home.slot, standby.ticket, now);
        }
    }

    fn reclaim(&mut self, slot: Slot, ticket: Bytes, now: Instant) {
        self.send(slot, Frame::Reclaim { ticket });
        // The next attempt needs the ticket of the answer: its stamp is above all others.
        self.after_reclaim = Some(self.dial_at);
        self.dial_at = self.dial_at.max(now + self.timing.answer);
    }

    /// The home failed like that. Whether the session before it was not left yet: then that is home again.
    fn go_back(&mut self, how: Closed, class: FailureClass, now: Instant) -> bool {
        let terminal = [CloseCode::Closing, CloseCode::TokenExpired].map(Closed::ByRelay);
        if terminal.contains(&how) {
            return false;
        }
        let Some(old) = self.old.take_if(|old| old.home.takes_back) else { return false };
        let slot = old.home.slot;
        let Some(failed) = self.home.replace(old.home) else { return false };
        self.output(Output::Use { slot });
        self.failures = old.failures;
        self.failed(Intent::Handover, class, None, now);
        self.reclaim(slot, failed.ticket, now);
        true
    }

    /// The relay has announced the peer again.
    fn reclaimed(&mut self, stamp: Stamp, ticket: Bytes) {
        // The earlier ones have stamps below that, and whoever came with one would come too late.
        self.ticket = Some(ticket);
        let due = self.after_reclaim.take();
        self.dial_at = due.map_or(self.dial_at, |due| due.min(self.dial_at));
        let Some(home) = &self.home else { return };
        let (relay, stays) = (home.relay, home.goaway.is_none());
        self.event(Event::Reclaimed { relay, stamp });
        if stays {
            self.event(Event::MayStay);
        }
    }

    /// How long to wait before the next dial, now that a home has ended: not at all, unless it would only end in the same way.
    fn pause_after(&mut self, home: &Home, how: Closed, now: Instant) -> Duration {
        let quick = now.saturating_duration_since(home.welcomed) < self.timing.quick_goaway;
        self.quick_ends = if quick { self.quick_ends + 1 } else { 0 };
        let ours = matches!(
            how,
            Closed::ByRelay(
                CloseCode::ProtocolViolation
                    | CloseCode::LimitExceeded
                    | CloseCode::HelloTimeout
                    | CloseCode::Internal
            )
        );
        let again = if ours { self.quick_ends } else { self.quick_ends.saturating_sub(1) };
        if again == 0 && !ours {
            return Duration::ZERO;
        }
        let pause = self.timing.backoff * 2_u32.saturating_pow(again.saturating_sub(1).min(16));
        self.jittered(pause.min(self.timing.max_backoff))
    }

    /// Nothing was heard on the home connection for too long: a second one is dialed beside it.
    pub fn handle_suspect(&mut self, slot: Slot, now: Instant) {
        if let Some(home) = self.home.as_mut().filter(|home| home.slot == slot) {
            home.suspect = true;
            self.drive(now);
        }
    }

    /// It was heard again: there is no need for another.
    pub fn handle_heard(&mut self, slot: Slot) {
        if let Some(home) = self.home.as_mut().filter(|home| home.slot == slot && home.suspect) {
            home.suspect = false;
            if let Some(next) = self.next.take_if(|next| next.intent == Intent::Resume) {
                self.close(next.slot, CloseCode::Done);
            }
        }
    }

    /// The owner wants no more.
    pub fn close_all(&mut self) {
        self.end(Ended::ByOwner, CloseCode::Done);
    }

    /// The home connection, if there is one.
    #[must_use]
    pub fn home(&self) -> Option<Slot> {
        self.home.as_ref().map(|home| home.slot)
    }

    fn go_away(&mut self, slot: Slot, goaway: GoAway, now: Instant) {
        if let Some(next) = self.next.as_mut().filter(|next| next.slot == slot)
            && let Some(standby) = &mut next.standby
        {
            // The new relay goes away too, before it is home. Where to go from there is asked when it is.
            let sequence = goaway.sequence;
            if sequence <= standby.last_goaway {
                self.close(slot, CloseCode::ProtocolViolation);
                return self.handle_closed(slot, Closed::Lost(FailureClass::TransportError), now);
            }
            standby.last_goaway = sequence;
            standby.goaway = Some((goaway, now));
            return self.send(slot, Frame::GoAwayAck { sequence });
        }
        if let Some(old) = self.old.as_mut().filter(|old| old.home.slot == slot) {
            // It is left anyway; but if it is not, this holds.
            let GoAway { sequence, reconnect_after, route_ids, .. } = goaway;
            old.home.last_goaway = old.home.last_goaway.max(sequence);
            let slot_at = now + reconnect_after;
            old.home.goaway = Some(Outstanding { sequence, slot_at, route_ids });
            return self.send(slot, Frame::GoAwayAck { sequence });
        }
        let Some(home) = self.home.as_mut().filter(|home| home.slot == slot) else { return };
        if goaway.sequence <= home.last_goaway {
            let slot = home.slot;
            self.home = None;
            self.close(slot, CloseCode::ProtocolViolation);
            self.event(Event::Lost { how: Closed::Lost(FailureClass::TransportError) });
            return;
        }
        home.last_goaway = goaway.sequence;
        self.send(slot, Frame::GoAwayAck { sequence: goaway.sequence });
        self.must_move(goaway, now, now);
    }

    /// A GOAWAY that came then, and was acknowledged, holds for the home.
    fn must_move(&mut self, goaway: GoAway, came: Instant, now: Instant) {
        let Some(home) = &self.home else { return };
        let quick = now.saturating_duration_since(home.welcomed) < self.timing.quick_goaway;
        let deadline = goaway.deadline.saturating_sub(now.saturating_duration_since(came));
        self.event(Event::MustMove { reason: goaway.reason, deadline });
        if goaway.reason == GoAwayReason::Closing {
            return self.end(Ended::Closing, CloseCode::Done);
        }
        self.quick_goaways = if quick { self.quick_goaways + 1 } else { 0 };
        let wait = goaway.reconnect_after
            + self.timing.move_delay
            + self.loop_pause().min(goaway.deadline / 2);
        self.ticket = Some(goaway.ticket);
        self.failures = 0;
        self.turned_away = 0;
        self.dial_at = now;
        if let Some(home) = &mut self.home {
            let GoAway { sequence, route_ids, .. } = goaway;
            home.goaway = Some(Outstanding { sequence, slot_at: came + wait, route_ids });
        }
    }

    /// How long to wait because relays send us from one to the next.
    fn loop_pause(&mut self) -> Duration {
        match self.quick_goaways {
            0 | 1 => Duration::ZERO,
            many => self.jittered(self.timing.backoff * 2_u32.saturating_pow(many.min(6))),
        }
    }

    /// GOAWAY is withdrawn. A move whose new session exists already is completed; one that is still dialing is not begun.
    fn may_stay(&mut self, slot: Slot, sequence: u64) {
        if let Some(next) = self.next.as_mut().filter(|next| next.slot == slot)
            && let Some(standby) = &mut next.standby
        {
            standby.goaway.take_if(|(goaway, _)| goaway.sequence == sequence);
            return;
        }
        if let Some(old) = self.old.as_mut().filter(|old| old.home.slot == slot) {
            old.home.goaway.take_if(|goaway| goaway.sequence == sequence);
            return;
        }
        let Some(home) = self.home.as_mut().filter(|home| home.slot == slot) else { return };
        if home.goaway.take_if(|goaway| goaway.sequence == sequence).is_none() {
            return;
        }
        if let Some(next) =
            self.next.take_if(|next| next.intent == Intent::Handover && next.standby.is_none())
        {
            // The relay that was dialed need not count this as a handover that failed.
            self.close(next.slot, CloseCode::Moved);
        }
        self.event(Event::MayStay);
    }

    /// ACTIVE_OK: the standby is home now, and what was home is old.
    fn activated(&mut self, slot: Slot, stamp: Stamp, now: Instant) {
        let Some(next) = self.next.take_if(|next| next.slot == slot && next.standby.is_some())
        else {
            return;
        };
        let Some(standby) = next.standby else { return };
        let Standby { relay: to, last_goaway, goaway, ticket, takes_back } = standby;
        self.output(Output::Use { slot });
        if let Some(home) = self.home.take() {
            let from = home.relay;
            self.send(home.slot, Frame::Moved { stamp, relay: to });
            let (until, failures) = (now + self.timing.answer, self.failures);
            self.retire(Old { home, until, confirmed: false, failures });
            let took = now.saturating_duration_since(next.started);
            self.event(Event::HandedOver { from, to, stamp, took });
        } else {
            // The old session was lost on the way: this was a resume after all.
            self.event(Event::Resumed { relay: to, stamp });
        }
        self.settle(slot, to, ticket, now);
        self.home.iter_mut().for_each(|home| {
            home.last_goaway = last_goaway;
            home.takes_back = takes_back;
        });
        if let Some((goaway, came)) = goaway {
            self.must_move(goaway, came, now);
        }
    }

    /// WELCOME to a fresh attachment or a resume: it is home at once.
    fn attach(&mut self, next: &Next, welcome: &Welcome, now: Instant) {
        let slot = next.slot;
        self.output(Output::Use { slot });
        if let Some(home) = self.home.take() {
            self.close(home.slot, CloseCode::Moved);
        }
        let (relay, stamp) = (welcome.relay, welcome.stamp);
        let event = if self.ever_attached {
            Event::Resumed { relay, stamp }
        } else {
            Event::Attached { relay, stamp }
        };
        self.event(event);
        self.settle(slot, relay, welcome.ticket.clone(), now);
    }

    fn settle(&mut self, slot: Slot, relay: RelayId, ticket: Bytes, now: Instant) {
        self.ever_attached = true;
        self.failures = 0;
        self.turned_away = 0;
        self.home = Some(Home {
            slot,
            relay,
            welcomed: now,
            last_goaway: 0,
            goaway: None,
            suspect: false,
            ticket,
            takes_back: false,
        });
    }

    /// Keeps at most one old connection: an older one has had its time.
    fn retire(&mut self, old: Old) {
        if let Some(older) = self.old.replace(old) {
            self.close(older.home.slot, CloseCode::Moved);
        }
    }

    fn end(&mut self, why: Ended, code: CloseCode) {
        if self.ended {
            return;
        }
        self.ended = true;
        let slots = [
            self.home.take().map(|home| home.slot),
            self.next.take().map(|next| next.slot),
            self.old.take().map(|old| old.home.slot),
        ];
        for slot in slots.into_iter().flatten() {
            self.close(slot, code);
        }
        self.event(Event::Ended(why));
    }

    fn failed(
        &mut self,
        intent: Intent,
        class: FailureClass,
        refused: Option<Refused>,
        now: Instant,
    ) {
        let pause = self.timing.backoff * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.dial_at = now + self.jittered(pause.min(self.timing.max_backoff));
        self.event(Event::Failed { intent, class, refused });
    }

    /// Between half of `pause` and all of it (SplitMix64).
    fn jittered(&mut self, pause: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((mixed ^ (mixed >> 31)) >> 40) as u32;
        pause / 2 + pause / 2 * (share >> 12) / 4096
    }

    /// Whether another connection is needed, for what, and from when.
    fn wants_to_dial(&self) -> Option<(Intent, Instant)> {
        if self.ended || self.next.is_some() {
            return None;
        }
        match &self.home {
            None if self.ticket.is_some() => Some((Intent::Resume, self.dial_at)),
            None => Some((Intent::Fresh, self.dial_at)),
            Some(home) if home.suspect && self.ticket.is_some() => {
                Some((Intent::Resume, self.dial_at))
            }
            Some(home) => {
                let goaway = home.goaway.as_ref()?;
                // Without a ticket that the pool takes, the move is a fresh attachment.
                let intent = if self.ticket.is_some() { Intent::Handover } else { Intent::Fresh };
                Some((intent, goaway.slot_at.max(self.dial_at)))
            }
        }
    }

    /// Dials, if that is what is needed now.
    fn drive(&mut self, now: Instant) {
        let Some((intent, _)) = self.wants_to_dial().filter(|(_, at)| *at <= now) else { return };
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        self.next =
            Some(Next { slot, intent, started: now, until: now + self.timing.dial, standby: None });
        let ticket = self.ticket.clone().filter(|_| intent != Intent::Fresh);
        let goaway = self.home.as_ref().and_then(|home| home.goaway.as_ref());
        let route_ids = goaway.map(|goaway| goaway.route_ids.clone()).unwrap_or_default();
        self.output(Output::Dial { slot, intent, ticket, route_ids });
    }

    fn send(&mut self, slot: Slot, frame: Frame) {
        self.output(Output::Send { slot, frame });
    }

    fn close(&mut self, slot: Slot, code: CloseCode) {
        self.output(Output::Close { slot, code });
    }

    fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

#[cfg(test)]
mod tests;
