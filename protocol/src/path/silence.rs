//! When a client asks whether its relay still hears it, because nothing comes that should.
//!
//! A NAT that forgets a client says nothing: what the relay sends is lost until the client sends something. Where a download is
//! all that happens, that would be the next keep-alive, seconds later. So a client that expects traffic and hears nothing sends an
//! ECHO of the full size, which shows the relay the new address and buys it credit there (RFC 9000 section 8.1), and a few more if
//! nothing comes of it. Who expects nothing sends nothing: there are no periodic pings beside the keep-alive.
//!
//! Traffic is expected when something is unanswered that must be acknowledged, and when packets came steadily before.

use std::time::{Duration, Instant};

/// Nothing shorter is a silence.
const LEAST: Duration = Duration::from_millis(300);

/// Packets came steadily if so many came in so long a time without a silence between.
const STEADY: (u64, Duration) = (5, Duration::from_millis(500));

/// How long the other end may hold back an acknowledgement.
const ACK_DELAY: Duration = Duration::from_millis(25);

/// Echoes in one silence. After them a connection is [suspect](crate::attachment::Attachment::handle_suspect), and another
/// remedy is at work.
const ECHOES: u32 = 6;

/// Between the first two of them, at least; between the others it doubles.
const INTERVAL: Duration = Duration::from_millis(50);

/// What has happened on a connection by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets received.
    pub heard: u64,
    /// Frames sent that the other end must acknowledge (RFC 9002 section 2).
    pub eliciting: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Silence {
    /// When something was heard last, and what had been sent by then.
    last: Counters,
    heard_at: Instant,
    /// Since when something is unanswered.
    asked_at: Option<Instant>,
    /// Since when packets come without a silence, and how many have come.
    run: (Instant, u64),
    echoes: u32,
    next_at: Instant,
}

impl Silence {
    /// Of a connection on which something was just heard.
    #[must_use]
    pub const fn new(counters: Counters, now: Instant) -> Self {
        Self {
            last: counters,
            heard_at: now,
            asked_at: None,
            run: (now, 0),
            echoes: 0,
            next_at: now,
        }
    }

    /// Whether to send an echo now.
    pub fn look(&mut self, counters: Counters, rtt: Duration, now: Instant) -> bool {
        if counters.heard != self.last.heard {
            if now.saturating_duration_since(self.heard_at) >= LEAST {
                self.run = (now, 0);
            }
            self.run.1 += counters.heard.saturating_sub(self.last.heard);
            (self.last, self.heard_at, self.echoes) = (counters, now, 0);
            self.asked_at = None;
            return false;
        }
        if counters.eliciting != self.last.eliciting {
            self.asked_at.get_or_insert(now);
        }
        let Some(since) = self.expects_since() else { return false };
        if now.saturating_duration_since(since) < patience(rtt) {
            return false;
        }
        if self.echoes == ECHOES || (self.echoes > 0 && now < self.next_at) {
            return false;
        }
        self.next_at = now + rtt.max(INTERVAL) * 2_u32.pow(self.echoes);
        self.echoes += 1;
        true
    }

    /// Whether it is to be looked at soon again: something may be due within a second.
    #[must_use]
    pub fn is_tense(&self, now: Instant) -> bool {
        let recent = now.saturating_duration_since(self.heard_at) < LEAST * 2;
        recent || (self.expects_since().is_some() && self.echoes < ECHOES)
    }

    /// Since when traffic is expected that has not come, if it is.
    fn expects_since(&self) -> Option<Instant> {
        let (since, packets) = self.run;
        let steady =
            packets >= STEADY.0 && self.heard_at.saturating_duration_since(since) >= STEADY.1;
        if steady { Some(self.heard_at) } else { self.asked_at }
    }
}

/// Three probe timeouts (RFC 9002 section 6.2), as far as the round trip alone tells them.
fn patience(rtt: Duration) -> Duration {
    ((rtt * 2 + ACK_DELAY) * 3).max(LEAST)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test starts somewhere; only differences matter"
    )]

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RTT: Duration = Duration::from_millis(20);

    /// Looks each 10 ms, and gives the milliseconds at which an echo is sent. `heard` and `sent` say what had been heard and sent
    /// by then.
    fn echoes(
        until: u64,
        heard: impl Fn(u64) -> u64,
        sent: impl Fn(u64) -> u64,
        rtt: Duration,
    ) -> Vec<u64> {
        let start = Instant::now();
        let mut silence = Silence::new(Counters::default(), start);
        (0..until / 10)
            .map(|step| step * 10)
            .filter(|ms| {
                let counters = Counters { heard: heard(*ms), eliciting: sent(*ms) };
                silence.look(counters, rtt, start + MS * u32::try_from(*ms).unwrap())
            })
            .collect()
    }

    #[test]
    fn who_expects_nothing_sends_nothing() {
        assert_eq!(echoes(60_000, |_| 0, |_| 0, RTT), [0; 0]);
        // Four packets are no flow.
        assert_eq!(echoes(60_000, |ms| ms.min(40) / 10, |_| 0, RTT), [0; 0]);
    }

    #[test]
    fn a_download_that_falls_silent_is_asked_for_a_few_times_and_no_more() {
        let stops = echoes(60_000, |ms| ms.min(1000) / 10, |_| 0, RTT);
        assert_eq!(stops, [1300, 1350, 1450, 1650, 2050, 2850]);
    }

    #[test]
    fn what_is_unanswered_is_asked_for() {
        let asked = echoes(1000, |_| 0, |ms| u64::from(ms >= 100), RTT);
        assert_eq!(asked.first(), Some(&400));
        let answered = echoes(1000, |ms| u64::from(ms >= 120), |ms| u64::from(ms >= 100), RTT);
        assert_eq!(answered, [0; 0]);
    }

    #[test]
    fn a_keep_alive_is_given_its_time_and_needs_no_echo() {
        // Sent every 12 s, and acknowledged a round trip later.
        let asked = echoes(60_000, |ms| (ms + 11_980) / 12_000, |ms| ms / 12_000, RTT);
        assert_eq!(asked, [0; 0]);
        let asked = echoes(20_000, |_| 0, |ms| ms / 12_000, RTT);
        assert_eq!(asked.first(), Some(&12_300), "if it is lost");
    }

    #[test]
    fn whoever_is_heard_again_is_left_alone_and_asked_for_again_when_that_ends() {
        let heard = |ms: u64| ms.min(1000) / 10 + ms.saturating_sub(1400).min(1000) / 10;
        let asked = echoes(4000, heard, |_| 0, RTT);
        assert_eq!(asked[..2], [1300, 1350]);
        assert_eq!(asked.iter().find(|ms| **ms > 1400), Some(&2700));
    }

    #[test]
    fn a_long_way_takes_its_time() {
        let far = Duration::from_millis(200);
        let asked = echoes(10_000, |ms| ms.min(1000) / 10, |_| 0, far);
        assert_eq!(asked[..2], [1000 + 1280, 1000 + 1280 + 200]);
    }

    #[test]
    fn it_is_looked_at_often_only_while_something_may_be_due() {
        let start = Instant::now();
        let mut silence = Silence::new(Counters::default(), start);
        let counters = Counters::default();
        let mut tense = |ms: u32| {
            let now = start + MS * ms;
            silence.look(counters, RTT, now);
            silence.is_tense(now)
        };
        assert!(tense(0));
        assert!(!tense(700));
    }
}
