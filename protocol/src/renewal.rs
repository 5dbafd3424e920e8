//! The client's side of RENEW: when to ask for a session to be renewed, and what is known of its end. It is told the time.
//!
//! The owner of the token (a file, say) may have a newer one at any time. It is looked for when a fifth of the time is left,
//! and then again and again; whoever looks asks the relay only with a token that ends later than what holds.

use std::time::{Duration, Instant};

use crate::frame::Retry;

/// How long an answer to RENEW is waited for. A relay that does not know the frame never answers.
pub const ANSWER: Duration = Duration::from_secs(10);

/// The shortest and the longest time between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// See the [module](self). Ends are seconds after the Unix epoch, as tokens have them.
#[derive(Debug, Default)]
pub struct Renewal {
    /// The end of the session in use, if it has one.
    ends: Option<u64>,
    /// What it was before it was renewed, and when it was.
    before: Option<(u64, Instant)>,
    look_at: Option<Instant>,
    /// The end that was asked for, and until when the answer may come.
    asked: Option<(u64, Instant)>,
}

impl Renewal {
    /// A client whose token, if it has one, was not shown yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answer = self.asked.map(|(_, until)| until);
        [self.look_at.filter(|_| answer.is_none()), answer].into_iter().flatten().min()
    }

    /// Whether to look now whether there is a newer token.
    pub fn handle_timeout(&mut self, now_unix: u64, now: Instant) -> bool {
        if self.asked.take_if(|(_, until)| *until <= now).is_some() {
            self.look_again(now_unix, now);
        }
        let due = self.asked.is_none() && self.look_at.is_some_and(|at| at <= now);
        if due {
            self.look_again(now_unix, now);
        }
        due
    }

    /// A session is in use that was made with a token which ends then; `None` if the pool wants none.
    pub fn attached(&mut self, ends: Option<u64>, now_unix: u64, now: Instant) {
        *self = Self { ends, ..Self::default() };
        self.schedule(now_unix, now);
    }

    /// A session is in use that was made with a ticket, which the client had when it dialed. Whatever was asked on another is
    /// not answered any more, and a ticket of before the renewal has not heard of it: then it is asked for again.
    pub fn moved(&mut self, dialed: Instant, now: Instant) {
        let asked = self.asked.take().is_some();
        let before = self.before.take_if(|(_, renewed)| dialed <= *renewed);
        if let Some((ends, _)) = before {
            self.ends = Some(ends);
        }
        if self.ends.is_some() && (asked || before.is_some()) {
            self.look_at = Some(now);
        }
    }

    /// Whether to ask the relay with a token that ends then.
    #[must_use]
    pub fn wants(&self, ends: Option<u64>) -> bool {
        self.asked.is_none() && ends > self.ends
    }

    /// The relay was asked with such a token. Not more than one question is under way.
    pub fn asked(&mut self, ends: u64, now: Instant) {
        self.asked = Some((ends, now + ANSWER));
    }

    /// Whether an answer is waited for.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// RENEWED came.
    pub fn renewed(&mut self, now_unix: u64, now: Instant) {
        if let Some((ends, _)) = self.asked.take() {
            self.before = self.ends.map(|before| (before, now));
            self.ends = Some(self.ends.unwrap_or(0).max(ends));
            self.schedule(now_unix, now);
        }
    }

    /// RENEW_REFUSED came.
    pub fn refused(&mut self, retry: Retry, now_unix: u64, now: Instant) {
        if self.asked.take().is_some() {
            self.look_again(now_unix, now);
            if let Retry::After(delay) = retry {
                self.look_at = Some(now + delay);
            }
        }
    }

    /// For the first time: when a fifth is left.
    fn schedule(&mut self, now_unix: u64, now: Instant) {
        let left = self.ends.map(|ends| Duration::from_secs(ends.saturating_sub(now_unix)));
        // What is too far to wait for is never waited for.
        self.look_at = left.and_then(|left| now.checked_add(left / 5 * 4));
    }

    fn look_again(&mut self, now_unix: u64, now: Instant) {
        let left = self.ends.map(|ends| Duration::from_secs(ends.saturating_sub(now_unix)));
        self.look_at = left.map(|left| now + (left / 20).clamp(LOOKS.0, LOOKS.1));
    }
}

#[cfg(test)]
mod tests;
