//! Two processes with one key: the newer one wins, and there is no fight.

use crate::attacker::sum;
use crate::drill::Drill;

/// Pairs that the attacker makes.
const PAIRS: u64 = 20;

/// How often one key may attach in a second.
const ALLOWED: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_key_the_older_is_told_once_and_does_not_come_back() {
    let mut drill = Drill::begin("two processes with one key").await;
    let attached = |drill: &Drill| drill.ground.count(r#"handshakes_total{result="ok"}"#);
    let before = attached(&drill);
    let mut attacker = drill.attack("twins");
    attacker.until("pairs", PAIRS).await;
    attacker.until("looked at", PAIRS).await;
    // Each attached once, and that was all; the fighters have not begun for long.
    let counted = attached(&drill) - before - attacker.count("fight: attached");
    attacker.until("fight: attached", 20).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let of = |name: &str| sum(&counts, name);
    drill.record("pairs, of which the older was told", of("older: superseded"));
    drill.record("sessions of those", counted);
    assert_eq!(of("older: superseded"), PAIRS, "{counts:?}");
    assert_eq!(of("older:"), PAIRS, "and nothing else happened to it: {counts:?}");
    assert_eq!(of("newer:"), 0, "nor to the newer one: {counts:?}");
    assert!((2 * PAIRS..2 * PAIRS + 4).contains(&counted), "{counted} sessions");
    // Who fights all the same is held off.
    let refused = of("fight: refused too_soon");
    drill.record("attachments of two that fight", of("fight: attached"));
    drill.record("of theirs that came too soon", refused);
    assert!(refused > 10, "{counts:?}");
    assert!(of("fight: attached") < ALLOWED * 60, "{counts:?}");
    drill.end().await;
}
