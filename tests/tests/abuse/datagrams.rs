//! Datagrams without end: to one, to nobody, and to those who take none.

use crate::drill::Drill;

/// What all queues hold together, as the relay is shipped, what each keeps beyond that, and how many there are.
const QUEUED: u64 = 64 << 20;
const KEPT: u64 = 4 << 10;
const DEAF: u64 = 960;

const SENDERS: usize = 100;

fn dropped(drill: &Drill, reason: &str) -> u64 {
    drill.ground.count(&format!(r#"dropped_total{{reason="{reason}"}}"#))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_senders_to_one_receiver_share_it_and_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("a hundred senders").await;
    let mut attacker = drill.attack("senders");
    attacker.until("senders", SENDERS as u64).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let each = |number| counts.get(&format!("received of {number}")).copied().unwrap_or(0);
    let each: Vec<_> = (0..SENDERS).map(each).collect();
    let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
    drill.record("sent, received", format!("{}, {}", counts["sent"], counts["received"]));
    drill.record("received of each sender", format!("{least} to {most}"));
    let full = dropped(&drill, "queue_full");
    drill.record("dropped for want of room", full);
    assert!(full > 100_000, "{full} dropped: no flood");
    assert!(2 * least > *most, "nobody is kept out: {each:?}");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_to_nobody_costs_the_neighbour_nothing() {
    let mut drill = Drill::begin("to nobody").await;
    let mut attacker = drill.attack("offline");
    attacker.until("senders", 8).await;
    let window = drill.endure(&mut attacker).await;
    let counts = drill.recover(attacker, &window).await;
    let offline = dropped(&drill, "offline");
    drill.record("sent", counts["sent"]);
    drill.record("dropped, because nobody is there", offline);
    assert!(offline > 1_000_000, "{offline} dropped: no flood");
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_datagrams_for_those_who_take_none_cost_the_neighbour_nothing() {
    let mut drill = Drill::begin("slow readers").await;
    let mut attacker = drill.attack("slow");
    attacker.until("senders", 4).await;
    let window = drill.endure(&mut attacker).await;
    assert_eq!(attacker.count("deaf"), DEAF);
    let queued = drill.ground.count("queued_bytes");
    let counts = drill.recover(attacker, &window).await;
    let full = dropped(&drill, "queue_full");
    drill.record("sent", counts["sent"]);
    drill.record("bytes that waited", queued);
    drill.record("dropped for want of room", full);
    assert!(full > 100_000, "{full} dropped: no flood");
    assert!((QUEUED / 2..=QUEUED + DEAF * KEPT).contains(&queued), "{queued} bytes waited");
    drill.end().await;
}
