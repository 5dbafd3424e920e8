//! Frames that nobody may send, and frames without end.

use crate::attacker::sum;
use crate::drill::Drill;

/// As a client is told that it broke the protocol.
const VIOLATION: &str = "closed 0x12";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_wrong_end_their_connection_and_nothing_else() {
    let mut drill = Drill::begin("wrong frames").await;
    let violations = || r#"handshakes_total{result="violation"}"#;
    let mut attacker = drill.attack("frames");
    attacker.until("an unknown type", 10).await;
    let window = drill.endure(&mut attacker).await;
    let counted = drill.ground.count(violations());
    let counts = drill.recover(attacker, &window).await;
    let wrong: Vec<_> = counts.iter().filter(|(name, _)| name.contains(": ")).collect();
    drill.record("kinds", wrong.len());
    drill.record("sent", wrong.iter().map(|(_, count)| **count).sum::<u64>());
    drill.record("violations before HELLO, by the relay", counted);
    for (name, count) in &wrong {
        assert!(name.ends_with(VIOLATION), "{count} times, {name}");
    }
    assert_eq!(wrong.len(), 14, "each kind was tried: {wrong:?}");
    assert!(counted > 100, "{counted} violations");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_skipped_without_end_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("endless frames").await;
    let mut attacker = drill.attack("skipped");
    attacker.until("attached", 16).await;
    let before = ["skipped", "ignored"].map(|name| attacker.count(name));
    let window = drill.endure(&mut attacker).await;
    let after = ["skipped", "ignored"].map(|name| attacker.count(name));
    let counts = drill.recover(attacker, &window).await;
    drill.record("frames that are skipped", sum(&counts, "skipped"));
    drill.record("frames that are ignored", sum(&counts, "ignored"));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after > before + 10_000, "{before}, then {after}: no flood");
    }
    drill.end().await;
}
