use proptest::prelude::*;

use super::flag::Reason;
use super::*;

fn id(number: u64) -> SessionId {
    SessionId::from_u64(number)
}

fn flag(id: &str, grace_seconds: u64) -> Flag {
    Flag { id: id.into(), grace_seconds, reason: Reason::Rollout, max_sessions_per_second: 0 }
}

fn told(begun: Begun) -> Vec<(SessionId, Slot)> {
    match begun {
        Begun::Tell(told) => told,
        Begun::AsBefore => panic!("nothing new"),
    }
}

#[test]
fn who_is_there_is_told_and_who_comes_later_is_a_straggler() {
    let now = Instant::now();
    let mut drain = Drain::default();
    assert_eq!(drain.session_added(id(1), now), Added::Serves);
    let told = told(drain.begin(flag("a", 60), [id(1), id(2)], now));
    assert_eq!(told.iter().map(|(session, _)| *session).collect::<Vec<_>>(), [id(1), id(2)]);
    let later = now + Duration::from_secs(20);
    let Added::Straggler(slot) = drain.session_added(id(3), later) else { panic!("no straggler") };
    assert_eq!(slot.deadline, Duration::from_secs(40), "the remaining time");
    assert_eq!(drain.session_added(id(4), now + Duration::from_secs(60)), Added::TooLate);
    let report = drain.report(later).unwrap();
    assert_eq!((report.at_flag, report.stragglers, report.remaining), (2, 2, 4));
}

#[test]
fn the_same_flag_again_moves_the_deadline_and_tells_again_only_if_it_comes_closer() {
    let now = Instant::now();
    let mut drain = Drain::default();
    drain.begin(flag("a", 60), [id(1)], now);
    let later = now + Duration::from_secs(10);
    assert_eq!(drain.begin(flag("a", 60), [id(1), id(2)], later), Begun::AsBefore);
    assert_eq!(drain.begin(flag("a", 90), [id(1), id(2)], later), Begun::AsBefore);
    assert_eq!(drain.deadline(), Some(now + Duration::from_secs(90)));
    let told = told(drain.begin(flag("a", 30), [id(1)], later));
    assert_eq!(drain.deadline(), Some(now + Duration::from_secs(30)), "from the original start");
    let deadlines: Vec<_> = told.iter().map(|(session, slot)| (*session, slot.deadline)).collect();
    assert_eq!(deadlines, [(id(1), Duration::from_secs(20))], "they would be closed too early");
    assert_eq!(drain.report(later).unwrap().at_flag, 1);
}

#[test]
fn after_a_cancellation_nobody_is_counted_and_a_new_drain_begins_anew() {
    let now = Instant::now();
    let mut drain = Drain::default();
    drain.begin(flag("a", 60), [id(1), id(2)], now);
    drain.session_ended(id(1), Outcome::Moved);
    assert_eq!(drain.cancel(), [id(2)]);
    assert!(!drain.is_on());
    drain.session_ended(id(2), Outcome::Left);
    assert_eq!(drain.session_added(id(3), now), Added::Serves);
    let report = drain.report(now).unwrap();
    assert_eq!((report.moved, report.left, report.cancelled), (1, 0, true));
    drain.begin(flag("b", 60), [id(3)], now);
    let report = drain.report(now).unwrap();
    assert_eq!(
        (report.id.as_str(), report.at_flag, report.moved, report.cancelled),
        ("b", 1, 0, false)
    );
}

#[test]
fn slots_are_spread_at_the_pace_and_end_before_the_deadline() {
    let now = Instant::now();
    let mut drain = Drain::default();
    let pace = Flag { max_sessions_per_second: 10, ..flag("a", 60) };
    let slots: Vec<_> = told(drain.begin(pace, (0..1000).map(id), now))
        .into_iter()
        .map(|(_, slot)| slot.reconnect_after)
        .collect();
    assert_eq!(slots[0], Duration::ZERO);
    assert_eq!(slots[100], Duration::from_secs(10));
    assert_eq!(slots[999], Duration::from_secs(55), "never later than 5 s before the deadline");
}

#[test]
fn a_closing_pool_gives_five_seconds() {
    let now = Instant::now();
    let mut drain = Drain::default();
    drain.begin(Flag { reason: Reason::Closing, ..flag("a", 60) }, [id(1)], now);
    assert_eq!(drain.deadline(), Some(now + CLOSING_GRACE));
}

#[test]
fn without_grace_everything_is_overdue_and_nobody_is_told() {
    let now = Instant::now();
    let mut drain = Drain::default();
    let told = told(drain.begin(flag("a", 0), [id(1)], now));
    assert_eq!(told, [], "a zero deadline is never sent");
    assert_eq!(drain.overdue(now), [id(1)]);
}

#[test]
fn the_report_has_the_form_of_the_contract() {
    let now = Instant::now();
    let mut drain = Drain::default();
    drain.begin(flag("a", 60), [id(1), id(2)], now);
    drain.acknowledged(id(1));
    drain.session_ended(id(1), Outcome::Moved);
    let report =
        serde_json::to_value(drain.report(now + Duration::from_millis(18_200)).unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "a", "atFlag": 2, "stragglers": 0, "acked": 1, "remaining": 1,
        "moved": 1, "left": 0, "forced": 0, "silent": 0, "cancelled": false, "secondsLeft": 41.8,
    });
    assert_eq!(report, expected);
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u8, u64),
    Cancel,
    Add,
    Acknowledge(prop::sample::Index),
    End(prop::sample::Index, Outcome),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let outcomes = prop::sample::select(&Outcome::ALL[..]);
    prop_oneof![
        1 => (0_u8..3, 0_u64..60).prop_map(|(id, grace)| Step::Begin(id, grace)),
        1 => Just(Step::Cancel),
        6 => Just(Step::Add),
        3 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        3 => (any::<prop::sample::Index>(), outcomes).prop_map(|(which, outcome)| Step::End(which, outcome)),
        2 => (0_u64..20).prop_map(Step::Wait),
    ]
}

proptest! {
    /// While a drain is on, every session that is here is owned by it, once; and its counts always add up.
    #[test]
    fn every_session_has_exactly_one_owner(steps in prop::collection::vec(steps(), 1..80)) {
        let mut now = Instant::now();
        let mut drain = Drain::default();
        let mut here: Vec<SessionId> = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Begin(name, grace) => {
                    let was_on = drain.is_on();
                    let begun = drain.begin(flag(&name.to_string(), grace), here.iter().copied(), now);
                    let told = match begun {
                        Begun::Tell(told) => told,
                        Begun::AsBefore => { prop_assert!(was_on); Vec::new() }
                    };
                    if !was_on && grace > 0 {
                        prop_assert_eq!(told.len(), here.len());
                    }
                    prop_assert!(told.iter().all(|(_, slot)| !slot.deadline.is_zero()));
                }
                Step::Cancel => {
                    let was_on = drain.is_on();
                    let mut stay = drain.cancel();
                    stay.sort();
                    prop_assert_eq!(stay.len(), if was_on { here.len() } else { 0 });
                }
                Step::Add => {
                    let added = drain.session_added(id(next), now);
                    prop_assert_eq!(added == Added::Serves, !drain.is_on());
                    here.push(id(next));
                    next += 1;
                }
                Step::Acknowledge(which) if !here.is_empty() => drain.acknowledged(here[which.index(here.len())]),
                Step::End(which, outcome) if !here.is_empty() => {
                    let session = here.swap_remove(which.index(here.len()));
                    drain.session_ended(session, outcome);
                    drain.session_ended(session, outcome);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Acknowledge(_) | Step::End(..) => {}
            }
            if let Some(report) = drain.report(now).filter(|report| !report.cancelled) {
                let ended = report.moved + report.left + report.forced + report.silent;
                prop_assert_eq!(report.at_flag + report.stragglers, report.remaining + ended);
                prop_assert_eq!(report.remaining, here.len() as u64);
                prop_assert!(report.acknowledged <= report.at_flag + report.stragglers);
            }
        }
    }
}
