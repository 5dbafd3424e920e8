//! One attempt of a client to migrate: probe a new path, switch to it, confirm it, or go back.
//!
//! ```text
//!  Probing --reply--> (the caller switches) --> Confirming --PATH_CONFIRMED--> done
//!     |                                             |
//!     +-- deadline: probe_timeout                   +-- deadline: validation_timeout; the caller goes back
//! ```
//!
//! While it probes, the connection stays on the path that it has: a probe that fails harms nothing. What carries this out owns
//! the sockets; see the [module above](super) for the other end.

use std::time::{Duration, Instant};

use super::report::PathReport;
use crate::class::FailureClass;
use crate::frame::RouteId;

/// How long a probe may take.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// How long a path that is used may take to be confirmed.
pub const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);

/// When a probe is repeated, counted from the first: each time with another id. With a tenth of all packets lost, one probe in ten
/// million fails for it.
const PROBES_AT_MS: [u32; 8] = [0, 100, 200, 400, 700, 1100, 1600, 2200];

/// PATH_CONFIRM is repeated at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// What the caller must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a probe over the new path, with an id that was not used yet, and say [which](Attempt::sent).
    Probe,
    /// Send PATH_CONFIRM over the connection.
    Confirm {
        /// Of the relay's latest ECHO; zeros if there was none.
        nonce: [u8; 8],
    },
    /// It is over. A failure after the switch means: go back.
    Ended(PathReport),
}

/// The steps of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The new path is tried.
    Probe,
    /// The connection uses it.
    Confirm,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Attempt {
    number: u64,
    began: Instant,
    deadline: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Probing { tries: usize, sent: Vec<(RouteId, Instant)>, next_at: Option<Instant> },
    Probed,
    Confirming { nonce: [u8; 8], interval: Duration, next_at: Instant },
    Over(Option<PathReport>),
}

impl Attempt {
    /// Begins to probe a new path.
    #[must_use]
    pub fn probe(number: u64, deadline: Duration, now: Instant) -> Self {
        let state = State::Probing { tries: 0, sent: Vec::new(), next_at: Some(now) };
        Self { number, began: now, deadline: now + deadline, state }
    }

    /// Begins with a switch, without a probe: there are no ids, or there is no other path left.
    #[must_use]
    pub fn unprobed(number: u64, now: Instant) -> Self {
        Self { number, began: now, deadline: now, state: State::Probed }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// A probe with this id was sent.
    pub fn sent(&mut self, id: RouteId, now: Instant) {
        if let State::Probing { sent, .. } = &mut self.state {
            sent.push((id, now));
        }
    }

    /// Whether it has tried for so long to send a probe, and had no id for one.
    #[must_use]
    pub fn lacks_ids(&self, patience: Duration, now: Instant) -> bool {
        let State::Probing { sent, .. } = &self.state else { return false };
        sent.is_empty() && now.saturating_duration_since(self.began) >= patience
    }

    /// A reply to a probe came over the new path. Gives the round trip if it is the first one to a probe of this attempt: then
    /// the caller may [switch](Self::switched).
    pub fn handle_reply(&mut self, id: RouteId, now: Instant) -> Option<Duration> {
        let State::Probing { sent, .. } = &self.state else { return None };
        let (_, at) = sent.iter().find(|(known, _)| *known == id)?;
        let rtt = now.saturating_duration_since(*at);
        self.state = State::Probed;
        Some(rtt)
    }

    /// The connection uses the new path. `rtt` is what its round trip is taken for.
    pub fn switched(&mut self, rtt: Duration, deadline: Duration, now: Instant) {
        self.deadline = now + deadline;
        let interval = rtt.max(MIN_INTERVAL);
        self.state = State::Confirming { nonce: [0; 8], interval, next_at: now };
    }

    /// The relay asks at the new address: it is answered at once.
    pub fn handle_echo(&mut self, asked: [u8; 8], now: Instant) {
        if let State::Confirming { nonce, next_at, .. } = &mut self.state
            && *nonce != asked
        {
            (*nonce, *next_at) = (asked, now);
        }
    }

    /// PATH_CONFIRMED came for the attempt with this number.
    pub fn handle_confirmed(&mut self, number: u64, now: Instant) {
        if number == self.number && matches!(self.state, State::Confirming { .. }) {
            self.end(None, now);
        }
    }

    /// It is given up, because of this.
    pub fn give_up(&mut self, class: FailureClass, now: Instant) {
        if !matches!(self.state, State::Over(_)) {
            self.end(Some(class), now);
        }
    }

    /// What to do now. The caller asks until there is nothing.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        match &mut self.state {
            State::Probing { .. } if self.deadline <= now => {
                self.end(Some(FailureClass::ProbeTimeout), now);
            }
            State::Probing { tries, next_at, .. } if next_at.is_some_and(|at| at <= now) => {
                *tries += 1;
                let next = PROBES_AT_MS.get(*tries);
                *next_at = next.map(|ms| self.began + Duration::from_millis(u64::from(*ms)));
                return Some(Output::Probe);
            }
            State::Confirming { .. } if self.deadline <= now => {
                self.end(Some(FailureClass::ValidationTimeout), now);
            }
            State::Confirming { nonce, interval, next_at } if *next_at <= now => {
                *next_at = now + *interval;
                return Some(Output::Confirm { nonce: *nonce });
            }
            State::Probing { .. } | State::Probed | State::Confirming { .. } | State::Over(_) => {}
        }
        let State::Over(report) = &mut self.state else { return None };
        report.take().map(Output::Ended)
    }

    /// When [`poll_output`](Self::poll_output) must be asked again. Between the reply to a probe and the switch: when the caller
    /// likes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Probing { next_at, .. } => {
                Some(next_at.map_or(self.deadline, |at| at.min(self.deadline)))
            }
            State::Confirming { next_at, .. } => Some((*next_at).min(self.deadline)),
            State::Probed | State::Over(_) => None,
        }
    }

    /// Which step it is at, if it is at one.
    #[must_use]
    pub const fn step(&self) -> Option<Step> {
        match self.state {
            State::Probing { .. } | State::Probed => Some(Step::Probe),
            State::Confirming { .. } => Some(Step::Confirm),
            State::Over(_) => None,
        }
    }

    fn end(&mut self, failed: Option<FailureClass>, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        self.state = State::Over(Some(PathReport { attempt: self.number, failed, took }));
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test starts somewhere; only differences matter"
    )]

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RTT: Duration = Duration::from_millis(80);

    fn id(number: usize) -> RouteId {
        [number as u8; 17]
    }

    /// Asks each 10 ms, and gives what comes out and when.
    fn run(attempt: &mut Attempt, from: Instant, until_ms: u32) -> Vec<(u32, Output)> {
        let mut outputs = Vec::new();
        for ms in (0..=until_ms).step_by(10) {
            let now = from + MS * ms;
            while let Some(output) = attempt.poll_output(now) {
                if output == Output::Probe {
                    attempt.sent(id(outputs.len()), now);
                }
                outputs.push((ms, output));
            }
        }
        outputs
    }

    fn ended(failed: Option<FailureClass>, took: Duration) -> Output {
        Output::Ended(PathReport { attempt: 7, failed, took })
    }

    #[test]
    fn a_path_is_probed_switched_to_and_confirmed() {
        let start = Instant::now();
        let mut attempt = Attempt::probe(7, PROBE_DEADLINE, start);
        assert_eq!(run(&mut attempt, start, 0), [(0, Output::Probe)]);
        assert_eq!(attempt.handle_reply([99; 17], start + RTT), None, "of something else");
        assert_eq!(attempt.handle_reply(id(0), start + RTT), Some(RTT));
        assert_eq!(attempt.handle_reply(id(0), start + RTT), None, "once");
        assert_eq!((attempt.poll_output(start + RTT), attempt.poll_timeout()), (None, None));

        let switched = start + RTT * 2;
        attempt.switched(RTT, CONFIRM_DEADLINE, switched);
        let confirm = |nonce| Some(Output::Confirm { nonce });
        assert_eq!(attempt.poll_output(switched), confirm([0; 8]));
        assert_eq!(attempt.poll_timeout(), Some(switched + RTT));
        attempt.handle_echo([5; 8], switched + RTT / 2);
        assert_eq!(attempt.poll_output(switched + RTT / 2), confirm([5; 8]), "at once");
        attempt.handle_echo([5; 8], switched + RTT / 2);
        assert_eq!(attempt.poll_output(switched + RTT / 2), None, "but not each time");
        attempt.handle_confirmed(6, switched + RTT);
        assert_eq!(attempt.poll_output(switched + RTT), None, "that was another one");
        attempt.handle_confirmed(7, switched + RTT);
        assert_eq!(attempt.poll_output(switched + RTT), Some(ended(None, RTT * 3)));
        assert_eq!((attempt.poll_output(switched + RTT), attempt.step()), (None, None));
    }

    #[test]
    fn a_probe_that_is_never_answered_is_repeated_and_fails_at_its_deadline() {
        let start = Instant::now();
        let mut attempt = Attempt::probe(7, PROBE_DEADLINE, start);
        let mut outputs = run(&mut attempt, start, 3000);
        let end = outputs.pop().unwrap();
        assert_eq!(end, (3000, ended(Some(FailureClass::ProbeTimeout), PROBE_DEADLINE)));
        let times: Vec<_> = outputs.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, PROBES_AT_MS);
    }

    #[test]
    fn one_without_ids_says_so_and_goes_on_when_there_are_some() {
        let start = Instant::now();
        let mut attempt = Attempt::probe(7, PROBE_DEADLINE, start);
        assert_eq!(attempt.poll_output(start), Some(Output::Probe));
        assert!(!attempt.lacks_ids(MS * 100, start));
        let later = start + MS * 100;
        assert_eq!(attempt.poll_output(later), Some(Output::Probe));
        assert!(attempt.lacks_ids(MS * 100, later));
        attempt.sent(id(1), later);
        assert!(!attempt.lacks_ids(MS * 100, later));
        assert_eq!(attempt.handle_reply(id(1), later + RTT), Some(RTT));
    }

    #[test]
    fn a_late_reply_to_an_early_probe_counts() {
        let start = Instant::now();
        let mut attempt = Attempt::probe(7, PROBE_DEADLINE, start);
        run(&mut attempt, start, 1000);
        assert_eq!(attempt.handle_reply(id(0), start + MS * 1000), Some(MS * 1000));
    }

    #[test]
    fn a_path_that_is_never_confirmed_is_asked_for_and_fails_at_its_deadline() {
        let start = Instant::now();
        let mut attempt = Attempt::unprobed(7, start);
        attempt.switched(MS, CONFIRM_DEADLINE, start);
        let mut outputs = run(&mut attempt, start, 3000);
        let end = outputs.pop().unwrap();
        assert_eq!(end, (3000, ended(Some(FailureClass::ValidationTimeout), CONFIRM_DEADLINE)));
        assert_eq!(outputs.len(), 60, "each 50 ms, however short the way");
    }

    #[test]
    fn it_can_be_given_up_in_every_state_and_ends_once() {
        let start = Instant::now();
        let probing = Attempt::probe(7, PROBE_DEADLINE, start);
        let probed = Attempt::unprobed(7, start);
        let mut confirming = Attempt::unprobed(7, start);
        confirming.switched(RTT, CONFIRM_DEADLINE, start);
        for mut attempt in [probing, probed, confirming] {
            attempt.give_up(FailureClass::Cancelled, start + RTT);
            attempt.give_up(FailureClass::Other, start + RTT);
            let output = attempt.poll_output(start + RTT);
            assert_eq!(output, Some(ended(Some(FailureClass::Cancelled), RTT)));
            attempt.handle_confirmed(7, start + RTT);
            assert_eq!((attempt.poll_output(start + RTT), attempt.poll_timeout()), (None, None));
        }
    }
}
