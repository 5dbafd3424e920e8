//! Each target under the fuzzer for an hour: `make fuzz`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/campaign.rs"]
mod campaign;

use std::time::Duration;

const TIME: Duration = Duration::from_secs(3600);

/// Two run side by side: each test takes every second target, one after the other.
fn fuzz_every_second(first: usize) {
    for target in baton_fuzz::TARGETS.iter().skip(first).step_by(2) {
        campaign::fuzz(target.name, TIME);
    }
}

#[test]
fn an_hour_each_finds_nothing_in_one_half_of_the_targets() {
    fuzz_every_second(0);
}

#[test]
fn an_hour_each_finds_nothing_in_the_other_half() {
    fuzz_every_second(1);
}
