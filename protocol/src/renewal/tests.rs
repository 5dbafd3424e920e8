#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use super::*;

const START: u64 = 1_000_000;

/// A client whose token has 1,000 s, and its clocks.
struct Client {
    renewal: Renewal,
    begun: Instant,
    passed: u64,
}

impl Client {
    fn new() -> Self {
        let begun = Instant::now();
        let mut renewal = Renewal::new();
        renewal.attached(Some(START + 1000), START, begun);
        Self { renewal, begun, passed: 0 }
    }

    fn now(&self) -> Instant {
        self.begun + Duration::from_secs(self.passed)
    }

    fn unix(&self) -> u64 {
        START + self.passed
    }

    /// In how many seconds from now it wants to be called.
    fn waits(&self) -> Option<u64> {
        let at = self.renewal.poll_timeout()?;
        Some(at.saturating_duration_since(self.now()).as_secs())
    }

    fn pass(&mut self, seconds: u64) -> bool {
        self.passed += seconds;
        self.renewal.handle_timeout(self.unix(), self.now())
    }

    fn ask(&mut self, ends: u64) {
        assert!(self.renewal.wants(Some(ends)));
        self.renewal.asked(ends, self.now());
    }

    fn renewed(&mut self) {
        self.renewal.renewed(self.unix(), self.now());
    }
}

#[test]
fn a_newer_token_is_looked_for_when_a_fifth_of_the_time_is_left_and_again_until_the_end() {
    let mut client = Client::new();
    assert_eq!(client.waits(), Some(800));
    assert!(!client.pass(799));
    assert!(client.pass(1));
    assert_eq!(client.waits(), Some(10), "a twentieth of what is left");
    assert!(client.pass(10));
    assert!(client.pass(189));
    assert_eq!(client.waits(), Some(1));
    client.pass(500);
    assert_eq!(client.waits(), Some(1), "never more often than once a second");
}

#[test]
fn only_a_token_that_ends_later_is_worth_a_question_and_one_at_a_time() {
    let mut client = Client::new();
    client.pass(800);
    for (ends, wanted) in [(None, false), (Some(START), false), (Some(START + 1000), false)] {
        assert_eq!(client.renewal.wants(ends), wanted, "{ends:?}");
    }
    client.ask(START + 2000);
    assert!(!client.renewal.wants(Some(START + 3000)));
    client.renewed();
    assert!(!client.renewal.wants(Some(START + 2000)));
    assert!(client.renewal.wants(Some(START + 2001)));
    assert_eq!(client.waits(), Some(960), "four fifths of 1,200 s");
}

#[test]
fn a_relay_that_does_not_answer_is_asked_again_later() {
    let mut client = Client::new();
    client.pass(800);
    client.ask(START + 2000);
    assert_eq!(client.waits(), Some(ANSWER.as_secs()), "not before");
    assert!(!client.pass(9));
    assert!(!client.pass(1));
    assert!(!client.renewal.is_asking());
    assert_eq!(client.waits(), Some(9), "a twentieth of 190 s");
    assert!(client.pass(10));
}

#[test]
fn a_refusal_says_when_to_ask_again() {
    let mut client = Client::new();
    client.pass(800);
    client.ask(START + 2000);
    client.renewal.refused(Retry::After(Duration::from_secs(3)), client.unix(), client.now());
    assert_eq!(client.waits(), Some(3));
    client.pass(3);
    client.ask(START + 2000);
    client.renewal.refused(Retry::Never, client.unix(), client.now());
    assert_eq!(client.waits(), Some(9), "there may be another token");
}

#[test]
fn a_session_by_an_older_ticket_is_renewed_again_at_once() {
    let mut client = Client::new();
    client.pass(800);
    let dialed = client.now();
    client.pass(1);
    client.ask(START + 2000);
    client.renewed();
    let later = client.now() + Duration::from_secs(1);

    client.renewal.moved(dialed, client.now());
    assert_eq!(client.waits(), Some(0));
    assert!(client.renewal.wants(Some(START + 2000)), "the ticket knows the first end only");
    client.ask(START + 2000);
    client.renewed();

    let wait = client.waits();
    client.pass(2);
    client.renewal.moved(later, client.now());
    assert_eq!(client.waits(), wait.map(|wait| wait - 2), "this ticket knows");
}

#[test]
fn what_was_asked_on_another_session_is_asked_again() {
    let mut client = Client::new();
    client.pass(800);
    client.ask(START + 2000);
    client.renewal.moved(client.now(), client.now());
    assert_eq!(client.waits(), Some(0));
    client.renewed();
    assert!(
        client.renewal.wants(Some(START + 2000)),
        "an answer that nobody waits for means nothing"
    );
}

#[test]
fn where_there_are_no_tokens_nothing_is_looked_for() {
    let mut client = Client::new();
    client.renewal.attached(None, client.unix(), client.now());
    assert_eq!(client.waits(), None);
    client.renewal.moved(client.now(), client.now());
    assert_eq!(client.waits(), None);
    assert!(!client.pass(10_000));
    client.renewal.attached(Some(u64::MAX), client.unix(), client.now());
    assert!(!client.pass(10_000), "and none that never end");
}
