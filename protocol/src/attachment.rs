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

mod goaway;
mod pauses;
mod reclaim;
mod said;
mod timing;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{CAPABILITY_RECLAIM, Frame, GoAway, Intent, Refused, Retry, RouteId, Welcome};
use crate::id::{RelayId, Stamp};

pub use self::said::{Closed, DialFailure, Ended, Event, Output};
pub use self::timing::Timing;

/// One connection of the client: a socket of its own and at most one session on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u64);

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

impl Home {
    /// One whose relay has said nothing but WELCOME.
    const fn new(slot: Slot, relay: RelayId, ticket: Bytes, welcomed: Instant) -> Self {
        Self {
            slot,
            relay,
            welcomed,
            last_goaway: 0,
            goaway: None,
            suspect: false,
            ticket,
            takes_back: false,
        }
    }
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
        self.settle(Home { last_goaway, takes_back, ..Home::new(slot, to, ticket, now) });
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
        self.settle(Home::new(slot, relay, welcome.ticket.clone(), now));
    }

    fn settle(&mut self, home: Home) {
        self.ever_attached = true;
        self.failures = 0;
        self.turned_away = 0;
        self.home = Some(home);
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
