use baton_protocol::attachment::{Attachment, DialFailure, Output, Timing};
use baton_protocol::frame::RuleVerb;
use baton_protocol::id::PeerId;

use super::*;

const PEER: PeerId = PeerId::from_bytes([1; 32]);

/// Slots come from an attachment only: this one dials, fails and dials again.
fn slots<const N: usize>() -> [Slot; N] {
    let now = Instant::now();
    let mut attachment = Attachment::new(Timing { turned_away: 100, ..Timing::default() }, 1, now);
    std::array::from_fn(|_| {
        let Some(Output::Dial { slot, .. }) = attachment.poll_output() else { panic!("no dial") };
        attachment.handle_dial_failure(slot, DialFailure::TurnedAway, now);
        slot
    })
}

fn policies() -> Policies {
    Policies::new(Policy::default(), Arc::default())
}

fn block() -> Change {
    Change::Rule(Rule { verb: RuleVerb::Block, peers: vec![PEER] })
}

fn asking() -> (Option<Reply>, oneshot::Receiver<Result<(), PolicyError>>) {
    let (reply, answer) = oneshot::channel();
    (Some(reply), answer)
}

#[test]
fn a_session_is_told_all_of_it_and_the_default_is_not_worth_a_word() {
    let [one, two] = slots();
    let now = Instant::now();
    let mut policies = policies();
    assert_eq!(policies.welcomed(one, now), []);
    assert!(!policies.comes_first(two));
    policies.change(Change::Mode(PolicyMode::Any)).unwrap();
    assert!(!policies.comes_first(two), "what comes before it is judged by less");
    let frame = policies.change(block()).unwrap();
    assert_eq!(policies.sessions(), [one]);
    assert!(policies.comes_first(two));
    let mode = Frame::Policy { mode: PolicyMode::Any };
    assert_eq!(policies.welcomed(two, now), [frame, mode]);
}

#[test]
fn a_session_that_waits_for_a_policy_is_told_one_whatever_it_has_become() {
    let [slot] = slots();
    let mut policies = policies();
    policies.change(block()).unwrap();
    assert!(policies.comes_first(slot), "as its HELLO says");
    let peers = vec![PEER];
    policies.change(Change::Rule(Rule { verb: RuleVerb::Unblock, peers })).unwrap();
    let told = policies.welcomed(slot, Instant::now());
    assert_eq!(told, [Frame::Policy { mode: PolicyMode::default() }]);
}

#[test]
fn who_asks_hears_it_from_the_relay() {
    let [slot] = slots();
    let now = Instant::now();
    let mut policies = policies();
    policies.welcomed(slot, now);
    policies.knows(slot, CAPABILITY_POLICIES);
    let mut answers = Vec::new();
    for _ in 0..2 {
        policies.change(block()).unwrap();
        let (reply, answer) = asking();
        policies.telling(slot, reply, now);
        answers.push(answer);
    }
    policies.ruled(slot, Ruled::Kept);
    assert_eq!(answers[0].try_recv(), Ok(Ok(())));
    assert!(answers[1].try_recv().is_err(), "in their order");
    assert!(!policies.is_news(slot, now + PATIENCE), "it knows how, and is slow");
    // What is lost with its session is told to the next.
    policies.closed(slot);
    assert_eq!(answers[1].try_recv(), Ok(Ok(())));
    let (reply, mut answer) = asking();
    policies.telling(slot, reply, now);
    assert_eq!(answer.try_recv(), Ok(Ok(())));
}

#[test]
fn a_relay_that_keeps_none_is_no_secret() {
    let now = Instant::now();
    // It says what it knows; or says nothing; or has shorter lists.
    for how in 0..3 {
        let [slot] = slots();
        let mut policies = policies();
        policies.welcomed(slot, now);
        assert!(!policies.is_news(slot, now + PATIENCE), "the default holds everywhere");
        policies.change(block()).unwrap();
        let (reply, mut answer) = asking();
        policies.telling(slot, reply, now);
        assert!(!policies.is_news(slot, now), "it may still say so");
        match how {
            0 => policies.knows(slot, !CAPABILITY_POLICIES),
            1 => assert!(!policies.is_news(slot, now + PATIENCE - Duration::from_millis(1))),
            _ => policies.ruled(slot, Ruled::TooMany { allowed: 0 }),
        }
        assert!(policies.is_news(slot, now + PATIENCE), "{how}");
        assert_eq!(answer.try_recv(), Ok(Err(PolicyError::NotKept)));
        assert!(!policies.is_news(slot, now + PATIENCE), "once");
        let (reply, mut answer) = asking();
        policies.telling(slot, reply, now);
        assert_eq!(answer.try_recv(), Ok(Err(PolicyError::NotKept)), "and at once from then on");
        assert_eq!(policies.welcomed(slot, now).len(), 2, "the next relay is told the same");
    }
}

#[test]
fn a_list_that_is_full_changes_nothing() {
    let mut policies = policies();
    let peers = |from: u32, to: u32| -> Vec<_> {
        let peer = |number: u32| {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            PeerId::from_bytes(bytes)
        };
        (from..to).map(peer).collect()
    };
    let rule = |from, to| Change::Rule(Rule { verb: RuleVerb::Allow, peers: peers(from, to) });
    for quarter in 0..4 {
        policies.change(rule(256 * quarter, 256 * quarter + 256)).unwrap();
    }
    let before = policies.policy.clone();
    assert_eq!(policies.change(rule(1024, 1025)), Err(TooManyNames));
    assert_eq!(policies.policy, before);
}
