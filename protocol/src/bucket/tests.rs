#![expect(clippy::disallowed_methods, reason = "a test starts somewhere; only differences matter")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn rate(per_second: u64) -> Rate {
    Rate::new(per_second).unwrap()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_seconds_worth_passes_at_once_and_then_what_comes_back() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(10), start);
    assert_eq!((0..20).filter(|_| bucket.take(1, start)).count(), 10);
    assert_eq!(bucket.wait(1, start + ms(99)), ms(1));
    assert!(!bucket.take(1, start + ms(99)));
    assert!(bucket.take(1, start + ms(100)));
    assert!(!bucket.is_full(start + ms(1099)));
    assert!(bucket.is_full(start + ms(1100)));
}

#[test]
fn what_is_more_than_a_seconds_worth_never_passes() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(10), start);
    assert!(!bucket.take(11, start + ms(60_000)));
    assert!(bucket.take(10, start + ms(60_000)), "and takes nothing");
    assert_eq!(bucket.wait(11, start + ms(60_000)), ms(1000));
}

#[test]
fn another_rate_holds_at_once_and_forgives_nothing() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(10), start);
    bucket.set_rate(rate(20), start);
    assert!(bucket.take(20, start), "a full one stays full");
    bucket.set_rate(rate(1000), start);
    assert!(!bucket.take(1, start));
    assert!(bucket.take(500, start + ms(500)));
    bucket.set_rate(rate(10), start + ms(1000));
    assert!(!bucket.take(11, start + ms(1000)), "what is left is no more than it may hold");
    assert!(bucket.take(10, start + ms(1000)));
}

#[test]
fn numbers_beyond_all_reason_are_no_error() {
    let start = Instant::now();
    let mut bucket = Bucket::new(Rate::MAX, start);
    assert!(bucket.take(1 << 30, start));
    assert!(bucket.take(1 << 30, start + Duration::from_secs(1 << 32)));
    assert!(bucket.take(1, start), "an earlier moment than the last is as good as that");
    assert!(!Bucket::new(rate(1), start).take(u64::MAX, start));
}

proptest! {
    #[test]
    fn in_no_time_does_more_pass_than_the_rate_and_a_seconds_worth(
        per_second in 1_u64..2_000,
        steps in vec((0_u64..300_000_000, 1_u64..50), 1..200),
    ) {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(rate(per_second), now);
        let mut passed = Vec::new();
        for (gap, cost) in steps {
            now += Duration::from_nanos(gap);
            if bucket.take(cost, now) {
                passed.push((now, cost));
            }
        }
        for (from, (since, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &passed[from..] {
                sum += u128::from(*cost);
                let allowed = u128::from(per_second) * (1_000_000_000 + (*at - *since).as_nanos());
                prop_assert!(sum * 1_000_000_000 <= allowed, "{sum} in {:?}", *at - *since);
            }
        }
    }

    #[test]
    fn who_waits_as_long_as_told_passes(per_second in 1_u64..5_000, costs in vec(1_u64..50, 1..100)) {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(rate(per_second), now);
        for cost in costs {
            let cost = cost.min(per_second);
            now += bucket.wait(cost, now);
            prop_assert!(bucket.take(cost, now));
        }
    }
}
