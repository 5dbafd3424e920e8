//! GOAWAY: when a move begins, and when it need not.

use std::time::{Duration, Instant};

use super::{Attachment, Closed, Ended, Event, Outstanding, Slot};
use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{Frame, GoAway, GoAwayReason, Intent};

impl Attachment {
    pub(super) fn go_away(&mut self, slot: Slot, goaway: GoAway, now: Instant) {
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
    pub(super) fn must_move(&mut self, goaway: GoAway, came: Instant, now: Instant) {
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
    pub(super) fn may_stay(&mut self, slot: Slot, sequence: u64) {
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
}
