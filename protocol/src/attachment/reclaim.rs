//! A handover that fails late is taken back: the session that was not left yet is home again.

use std::time::Instant;

use bytes::Bytes;

use super::{Attachment, Closed, Event, Next, Output, Slot};
use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{Frame, Intent};
use crate::id::Stamp;

impl Attachment {
    /// A standby failed. Its relay may have announced the peer already, which the relay of the session that serves takes back.
    pub(super) fn take_back(&mut self, failed: Next, now: Instant) {
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
    pub(super) fn go_back(&mut self, how: Closed, class: FailureClass, now: Instant) -> bool {
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
    pub(super) fn reclaimed(&mut self, stamp: Stamp, ticket: Bytes) {
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
}
