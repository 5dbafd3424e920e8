//! Handshakes without end, and connections that never come to the point.

use crate::attacker::sum;
use crate::drill::Drill;

fn handshakes(drill: &Drill, result: &str) -> u64 {
    drill.ground.count(&format!(r#"handshakes_total{{result="{result}"}}"#))
}

fn limited(drill: &Drill, kind: &str) -> u64 {
    drill.ground.count(&format!(r#"limited_total{{kind="{kind}"}}"#))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_first_packets_costs_the_neighbour_nothing() {
    let mut drill = Drill::begin("first packets").await;
    let mut attacker = drill.attack("first-packets");
    attacker.until("sent", 10_000).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let (sent, retries) = (counts["sent"], handshakes(&drill, "retry"));
    let held_back = limited(&drill, "first_packets");
    drill.record("sent", sent);
    drill.record("answered with Retry", retries);
    drill.record("held back by the kernel", held_back);
    assert!(sent > 200_000 && retries > 1_000, "{sent} sent, {retries} retries: no flood");
    assert!(held_back > sent / 4, "{held_back} of {sent} held back");
    // They are let in again as soon as it is over.
    drill.newcomer().await;
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_given_up_at_once_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("handshakes given up").await;
    let mut attacker = drill.attack("begun");
    attacker.until("sent", 10_000).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let (failed, away) = (handshakes(&drill, "failed"), handshakes(&drill, "turned_away"));
    drill.record("sent", sum(&counts, "sent"));
    drill.record("begun and given up", failed);
    drill.record("turned away", away);
    assert!(failed > 1_000 && away > 1_000, "{failed} failed, {away} turned away: no flood");
    assert!(limited(&drill, "unfinished") > 0, "they have a limit");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_say_hello_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("no HELLO").await;
    let mut attacker = drill.attack("silent");
    attacker.until("connected", 500).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let timeouts = handshakes(&drill, "timeout");
    drill.record("connected", counts["connected"]);
    drill.record("given up by the relay", timeouts);
    // `hello_timeout`, by those who say nothing and those who say a byte at a time.
    for kind in ["silent: closed 0x11", "byte by byte: closed 0x11"] {
        drill.record(kind, sum(&counts, kind));
        assert!(sum(&counts, kind) > 100, "{counts:?}");
    }
    let told = sum(&counts, "silent: closed 0x11") + sum(&counts, "byte by byte: closed 0x11");
    assert!(timeouts >= told, "{timeouts} timeouts, {told} told");
    drill.end().await;
}
