//! The relay as a program: what one process leaves to the next, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod http;
mod machine;
#[path = "../wire/peer.rs"]
#[expect(dead_code, reason = "the rest is for `wire`")]
mod peer;
#[path = "../wire/pool.rs"]
#[expect(dead_code, reason = "the rest is for `wire`")]
mod pool;
mod seeds;

use std::time::Duration;

use machine::Machine;

/// A sibling misses a relay that was killed only after the links' idle timeout, which is ten seconds.
const NOT_MISSED_YET: Duration = Duration::from_secs(8);

#[test]
fn a_relay_that_was_killed_is_ready_again_only_with_links_to_its_siblings() {
    let (mut first, mut second) = (Machine::new(1), Machine::new(2));
    first.seeds(&[]);
    second.seeds(&[&first]);
    first.start();
    first.until_ready();
    second.start();
    second.until_ready();
    first.until("it has written down its sibling", |first| first.has_kept_siblings());

    for _ in 0..3 {
        let killed = std::time::Instant::now();
        first.kill();
        first.start();
        first.until_ready();
        assert_eq!(first.links(), 1, "ready, and nobody could be reached through it");
        assert!(killed.elapsed() < NOT_MISSED_YET, "it came back by itself");
    }
}
