//! When datagrams wait for control bytes (docs/protocol.md section 4).
//!
//! QUIC stacks write DATAGRAM before STREAM frames, and do not say when a byte of a stream has left or has arrived. But they
//! count STREAM frames and lost packets, and say whether they hold datagrams. From that:
//!
//! - From the moment at which control bytes are written, no datagram is handed over until a STREAM frame was sent.
//! - If a packet is lost soon after that, control bytes may have been in it: the same again. Soon is counted from the latest STREAM frame:
//!   it may have been their second, and be lost as the first.
//! - If no STREAM frame is sent in a round trip in which the stack had no datagrams to send, there was nothing to wait for.
//!
//! A round trip from the writing on is not enough: what was handed over before may take longer than that to leave.

use std::time::{Duration, Instant};

use crate::datagram::HANDED_OVER;

/// How often whoever holds a datagram back asks again.
pub const STEP: Duration = Duration::from_millis(1);

/// The longest time that a datagram is held back at a time.
pub const MAX_HOLD: Duration = Duration::from_secs(1);

/// Control bytes have arrived if no STREAM frame was sent for so many round trips: sent, lost, missed by an end that acknowledges only
/// each ten packets, and not sent again. With four, a slow receiver was left without them.
const RECENT: u32 = 10;

/// What a QUIC stack says of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire {
    /// STREAM frames that were sent.
    pub stream_frames: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// It has no datagrams to send.
    pub is_empty: bool,
    /// The round trip.
    pub rtt: Duration,
}

/// Decides it for one connection.
#[derive(Debug, Default)]
pub struct Hold {
    recent: Option<Recent>,
    /// Bytes of datagrams that need not wait, because others have.
    credit: usize,
}

#[derive(Debug)]
struct Recent {
    /// When control bytes were written, or a STREAM frame was found to have been sent: whichever came last.
    sent: Instant,
    /// STREAM frames sent until then.
    stream_frames: u64,
    /// Packets lost until then, or until it was looked last.
    lost: u64,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// STREAM frames sent before what is waited for.
    stream_frames: u64,
    /// Since when the stack has had no datagrams.
    empty: Option<Instant>,
}

impl Recent {
    /// Notices STREAM frames that were sent.
    fn look(&mut self, wire: Wire, now: Instant) {
        if std::mem::replace(&mut self.stream_frames, wire.stream_frames) != wire.stream_frames {
            self.sent = now;
        }
    }

    /// Whether the bytes have arrived, if they were sent.
    fn is_over(&self, wire: Wire, now: Instant) -> bool {
        self.waiting.is_none() && now >= self.sent + wire.rtt * RECENT
    }
}

impl Waiting {
    const fn new(wire: Wire, since: Instant) -> Self {
        Self { since, stream_frames: wire.stream_frames, empty: None }
    }

    fn is_over(&mut self, wire: Wire, now: Instant) -> bool {
        if wire.is_empty {
            self.empty.get_or_insert(now);
        }
        wire.stream_frames != self.stream_frames
            || self.empty.is_some_and(|at| now >= at + wire.rtt)
            || now >= self.since + MAX_HOLD
    }
}

impl Hold {
    /// Control bytes are about to be written.
    pub fn written(&mut self, wire: Wire, now: Instant) {
        if self.recent.is_none() {
            // What is left of it was for others.
            self.credit = 0;
        }
        let before = self.recent.as_ref();
        // Bytes that never end do not put the end of the wait off.
        let since = before.and_then(|recent| recent.waiting).map_or(now, |waiting| waiting.since);
        let lost = before.map_or(wire.lost, |recent| recent.lost);
        let (stream_frames, waiting) = (wire.stream_frames, Some(Waiting::new(wire, since)));
        self.recent = Some(Recent { sent: now, stream_frames, lost, waiting });
    }

    /// Whether control bytes were written so lately that a datagram may have to wait: if not, nobody needs to look at the wire.
    #[must_use]
    pub const fn may_hold(&self) -> bool {
        self.recent.is_some()
    }

    /// Whether control bytes wait to be sent.
    pub fn holds(&mut self, wire: Wire, now: Instant) -> bool {
        self.look(wire, now);
        self.still_holds(wire, now)
    }

    /// Notices STREAM frames that were sent.
    fn look(&mut self, wire: Wire, now: Instant) {
        self.recent.iter_mut().for_each(|recent| recent.look(wire, now));
    }

    /// Whether control bytes wait, after it was looked.
    fn still_holds(&mut self, wire: Wire, now: Instant) -> bool {
        let Some(recent) = self.recent.as_mut().filter(|recent| !recent.is_over(wire, now)) else {
            self.recent = None;
            return false;
        };
        if recent.waiting.is_none() && recent.lost != wire.lost {
            recent.waiting = Some(Waiting::new(wire, now));
        }
        recent.lost = wire.lost;
        if let Some(waiting) = &mut recent.waiting {
            if !waiting.is_over(wire, now) {
                return true;
            }
            recent.waiting = None;
        }
        if recent.is_over(wire, now) {
            self.recent = None;
        }
        false
    }

    /// Whether a datagram of this length has to wait. After a wait it goes, and with it as many others as are handed over at a
    /// time: a steady trickle of control bytes must not throttle datagrams to one per round trip.
    pub fn holds_back(&mut self, length: usize, wire: Wire, now: Instant) -> bool {
        self.look(wire, now);
        let is_over = self.recent.as_ref().is_none_or(|recent| recent.is_over(wire, now));
        if let Some(left) = self.credit.checked_sub(length).filter(|_| !is_over) {
            self.credit = left;
            return false;
        }
        self.credit = 0;
        let was_waiting = self.recent.as_ref().is_some_and(|recent| recent.waiting.is_some());
        let holds = self.still_holds(wire, now);
        if was_waiting && !holds {
            self.credit = HANDED_OVER.saturating_sub(length);
        }
        holds
    }
}

#[cfg(test)]
mod tests;
