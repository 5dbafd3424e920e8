//! When a connection that says nothing is suspect, and when it is given up (design section 4.7).
//!
//! Sans-IO: fed with counters of the connection now and then, it says what they mean.

use std::time::{Duration, Instant};

use baton_protocol::path::silence::Counters;

use crate::options::Options;

/// How patient it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Something that must be acknowledged was sent, and nothing was heard for so long: suspect.
    pub(crate) unanswered: Duration,
    /// Not a word for so long: suspect.
    pub(crate) silent: Duration,
    /// The connection is given up.
    pub(crate) give_up: Duration,
}

impl From<&Options> for Patience {
    fn from(options: &Options) -> Self {
        let Options { unanswered, give_up, .. } = *options;
        Self { unanswered, silent: options.suspect(), give_up }
    }
}

/// What to think of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing to worry about.
    Alive,
    /// Another should be dialed beside it.
    Suspect,
    /// It is lost.
    Lost,
}

/// The counters of a connection by now.
pub(crate) fn counters(connection: &quinn::Connection) -> Counters {
    let stats = connection.stats();
    let sent = stats.frame_tx;
    let eliciting = [
        sent.ack_frequency,
        sent.crypto,
        sent.data_blocked,
        sent.datagram,
        sent.immediate_ack,
        sent.max_data,
        sent.max_stream_data,
        sent.new_connection_id,
        sent.path_challenge,
        sent.path_response,
        sent.ping,
        sent.reset_stream,
        sent.retire_connection_id,
        sent.stop_sending,
        sent.stream,
        sent.stream_data_blocked,
    ];
    Counters { heard: stats.udp_rx.datagrams, eliciting: eliciting.into_iter().sum() }
}

/// The silence of one connection.
#[derive(Debug)]
pub(crate) struct Suspicion {
    patience: Patience,
    last: Counters,
    heard_at: Instant,
    /// Since when something is unanswered.
    asked_at: Option<Instant>,
}

impl Suspicion {
    pub(crate) fn new(patience: Patience, counters: Counters, now: Instant) -> Self {
        Self { patience, last: counters, heard_at: now, asked_at: None }
    }

    /// Judges the counters at `now`.
    pub(crate) fn judge(&mut self, counters: Counters, now: Instant) -> Verdict {
        if counters.heard != self.last.heard {
            self.heard_at = now;
            self.asked_at = None;
        } else if counters.eliciting != self.last.eliciting && self.asked_at.is_none() {
            self.asked_at = Some(now);
        }
        self.last = counters;
        let silent = now.saturating_duration_since(self.heard_at);
        let patience = &self.patience;
        let unanswered = self
            .asked_at
            .is_some_and(|at| now.saturating_duration_since(at) >= patience.unanswered);
        match () {
            () if silent >= patience.give_up => Verdict::Lost,
            () if unanswered || silent >= patience.silent => Verdict::Suspect,
            () => Verdict::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (second, heard, eliciting) and writes down the first second of each new verdict.
    fn story(steps: impl IntoIterator<Item = (u64, u64, u64)>) -> Vec<(u64, Verdict)> {
        let start = Instant::now();
        let patience = Patience::from(&Options::default());
        let mut suspicion = Suspicion::new(patience, Counters { heard: 0, eliciting: 0 }, start);
        let mut verdicts: Vec<(u64, Verdict)> = Vec::new();
        for (second, heard, eliciting) in steps {
            let verdict =
                suspicion.judge(Counters { heard, eliciting }, start + Duration::from_secs(second));
            if verdicts.last().is_none_or(|(_, last)| *last != verdict) {
                verdicts.push((second, verdict));
            }
        }
        verdicts
    }

    #[test]
    fn what_is_unanswered_for_three_seconds_is_suspect() {
        let verdicts = story((0..60).map(|second| (second, 0, second)));
        assert_eq!(verdicts, [(0, Verdict::Alive), (4, Verdict::Suspect), (45, Verdict::Lost)]);
    }

    #[test]
    fn an_answer_ends_the_suspicion() {
        let verdicts = story((0..20).map(|second| (second, u64::from(second >= 10), second)));
        assert_eq!(
            verdicts,
            [
                (0, Verdict::Alive),
                (4, Verdict::Suspect),
                (10, Verdict::Alive),
                (14, Verdict::Suspect)
            ]
        );
    }

    #[test]
    fn an_idle_connection_may_be_silent_for_two_keep_alives() {
        let verdicts = story((0..50).map(|second| (second, 0, 0)));
        assert_eq!(verdicts, [(0, Verdict::Alive), (24, Verdict::Suspect), (45, Verdict::Lost)]);
    }

    #[test]
    fn whoever_only_listens_is_not_suspect() {
        // Acknowledgements of the last packets heard go out after them; they ask for nothing.
        let verdicts = story((0..20).map(|second| (second, second.min(5), 0)));
        assert_eq!(verdicts, [(0, Verdict::Alive)]);
    }
}
