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

/// The slots of `count` sessions at this pace, in seconds.
fn slots(count: u64, pace: Flag) -> Vec<f64> {
    let begun = Drain::default().begin(pace, (0..count).map(id), Instant::now());
    told(begun).into_iter().map(|(_, slot)| slot.reconnect_after.as_secs_f64()).collect()
}

#[test]
fn slots_are_spread_at_the_pace() {
    let pace = Flag { max_sessions_per_second: 10, ..flag("a", 60) };
    let slots = slots(400, pace);
    assert_eq!((slots[0], slots[100]), (0.0, 10.0));
    assert!((slots[399] - 39.9).abs() < 0.001);
    assert_eq!(self::slots(400, flag("a", 60)), [0.0; 400], "no limit");
}

#[test]
fn a_pace_too_slow_for_the_deadline_spreads_evenly_until_five_seconds_before_it() {
    let pace = Flag { max_sessions_per_second: 10, ..flag("a", 60) };
    let slots = slots(1101, pace);
    assert_eq!((slots[0], slots[1100]), (0.0, 55.0), "never later than 5 s before the deadline");
    assert!(slots.windows(2).all(|two| (two[1] - two[0] - 0.05).abs() < 0.001), "no herd");
}

#[test]
fn without_a_flag_all_move_within_twenty_seconds_and_within_the_grace() {
    let last = |count, grace| {
        let flag = Flag::front_loaded("a", Duration::from_secs(grace), count as usize);
        assert_eq!(flag.id, "a-sigterm");
        *slots(count, flag).last().unwrap()
    };
    for (count, grace, earliest, latest) in
        [(10_000, 68, 19.0, 20.0), (10_000, 12, 6.9, 7.0), (10_000, 4, 1.9, 2.0), (3, 68, 2.0, 2.0)]
    {
        let last = last(count, grace);
        assert!(last >= earliest && last <= latest, "{count} in {grace} s: the last after {last}");
    }
    assert_eq!(last(1, 68), 0.0);
}

#[test]
fn a_drain_that_is_on_keeps_its_time_unless_the_process_has_less() {
    let seconds = Duration::from_secs;
    let capped = |left, grace| flag("a", 60).capped(seconds(left), seconds(grace)).grace();
    assert_eq!(capped(20, 68), seconds(60));
    assert_eq!(capped(50, 30), seconds(40), "10 s had passed, and 30 s are left");
    assert_eq!(capped(0, 30), seconds(60), "it is over");
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
