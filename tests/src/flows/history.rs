//! What happened to one flow: pure, with time as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Questions that may wait for an answer at once; an older one counts as lost.
const UNANSWERED_MAX: usize = 1024;

/// What happened to one flow.
#[derive(Debug, Clone, Default)]
pub struct FlowHistory {
    asked: u64,
    unanswered: BTreeMap<u64, Instant>,
    /// Who answered last, when, and when that had been asked.
    last: Option<Answer>,
    answers: u64,
    moves: Vec<Move>,
    longest_gap: Duration,
}

#[derive(Debug, Clone)]
struct Answer {
    pod: String,
    at: Instant,
    asked_at: Instant,
}

/// A flow's answers began to come from another pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Who answered before.
    pub from: String,
    /// Who answers now.
    pub to: String,
    /// The first answer of the new pod.
    pub at: Instant,
    /// Time since the last answer of the old pod.
    pub gap: Duration,
}

impl FlowHistory {
    /// The flow asks; returns the number of the question.
    pub fn ask(&mut self, now: Instant) -> u64 {
        let number = self.asked;
        self.asked += 1;
        self.unanswered.insert(number, now);
        if self.unanswered.len() > UNANSWERED_MAX {
            self.unanswered.pop_first();
        }
        number
    }

    /// An answer to a question came. A second one to the same question is not counted.
    pub fn answer(&mut self, number: u64, pod: &str, now: Instant) {
        let Some(asked_at) = self.unanswered.remove(&number) else { return };
        self.answers += 1;
        if let Some(last) = &self.last {
            let gap = now - last.at;
            self.longest_gap = self.longest_gap.max(gap);
            if last.pod != pod {
                let (from, to) = (last.pod.clone(), pod.to_owned());
                self.moves.push(Move { from, to, at: now, gap });
            }
        }
        self.last = Some(Answer { pod: pod.to_owned(), at: now, asked_at });
    }

    /// Who answered last.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.last.as_ref().map(|last| last.pod.as_str())
    }

    /// When the question was asked whose answer came last.
    #[must_use]
    pub fn last_answered_ask(&self) -> Option<Instant> {
        self.last.as_ref().map(|last| last.asked_at)
    }

    /// Every change of the answering pod, in order.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// How many questions were answered.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// The longest time between two answers.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_move_is_a_change_of_the_answering_pod_with_the_gap_before_it() {
        let start = Instant::now();
        let mut flow = FlowHistory::default();
        for (tick, pod) in [(0, "a"), (1, "a"), (4, "b"), (5, "b")] {
            let now = start + ms(20 * tick);
            let number = flow.ask(now);
            flow.answer(number, pod, now + ms(1));
        }
        let [only] = flow.moves() else { panic!("{flow:?}") };
        assert_eq!((only.from.as_str(), only.to.as_str(), only.gap), ("a", "b", ms(60)));
        assert_eq!(only.at, start + ms(81));
        assert_eq!((flow.answers(), flow.longest_gap()), (4, ms(60)));
        assert_eq!(flow.last_answered_ask(), Some(start + ms(100)));
    }

    #[test]
    fn an_answer_that_comes_twice_counts_once() {
        let now = Instant::now();
        let mut flow = FlowHistory::default();
        let number = flow.ask(now);
        flow.answer(number, "a", now);
        flow.answer(number, "b", now);
        assert_eq!((flow.pod(), flow.answers(), flow.moves().len()), (Some("a"), 1, 0));
    }

    #[test]
    fn unanswered_questions_are_bounded() {
        let now = Instant::now();
        let mut flow = FlowHistory::default();
        let first = flow.ask(now);
        for _ in 0..UNANSWERED_MAX {
            flow.ask(now);
        }
        flow.answer(first, "a", now);
        assert_eq!(flow.pod(), None);
    }
}
