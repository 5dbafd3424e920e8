//! How long to wait after what failed, or ended too soon.

use std::time::{Duration, Instant};

use super::{Attachment, Closed, Event, Home};
use crate::class::FailureClass;
use crate::close::CloseCode;
use crate::frame::{Intent, Refused};

impl Attachment {
    pub(super) fn failed(
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

    /// How long to wait before the next dial, now that a home has ended: not at all, unless it would only end in the same way.
    pub(super) fn pause_after(&mut self, home: &Home, how: Closed, now: Instant) -> Duration {
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

    /// Between half of `pause` and all of it (SplitMix64).
    pub(super) fn jittered(&mut self, pause: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((mixed ^ (mixed >> 31)) >> 40) as u32;
        pause / 2 + pause / 2 * (share >> 12) / 4096
    }
}
