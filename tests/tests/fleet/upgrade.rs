//! Every relay is replaced while peers talk.

use std::time::Duration;

use baton_tests::figures;
use baton_tests::fleet::{Drained, Fleet};
use baton_tests::traffic::{Offered, Outcome, Pair};
use tokio::sync::watch;
use tokio::task::JoinSet;

const RELAYS: usize = 3;
const PAIRS: u8 = 15;
const GRACE: Duration = Duration::from_secs(30);

/// Pairs whose two peers are on different relays: then everything they say passes the mesh.
async fn pairs_apart(fleet: &Fleet, count: u8) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut seed = 0;
    while pairs.len() < usize::from(count) {
        seed += 2;
        let pair = Pair::connect(fleet.client(seed), fleet.client(seed + 1)).await;
        let [one, other] = pair.statuses();
        if one.relay == other.relay {
            pair.close().await;
        } else {
            pairs.push(pair);
        }
    }
    pairs
}

async fn talk(
    pairs: Vec<Pair>,
    meanwhile: impl Future<Output = Drained>,
) -> (Outcome, Drained, u64) {
    let (stop, stopped) = watch::channel(false);
    let mut talks = JoinSet::new();
    for mut pair in pairs {
        let stopped = stopped.clone();
        talks.spawn(async move {
            let outcome = pair.talk(Offered::default(), stopped).await;
            let handovers: u64 = pair.statuses().iter().map(|status| status.handovers).sum();
            pair.close().await;
            (outcome, handovers)
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let drained = meanwhile.await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    let (mut all, mut moves) = (Outcome::default(), 0);
    while let Some(talked) = talks.join_next().await {
        let (outcome, handovers) = talked.expect("a pair talks to its end");
        all += outcome;
        moves += handovers;
    }
    (all, drained, moves)
}

#[tokio::test]
async fn a_whole_fleet_is_replaced_under_live_streams_and_nothing_is_lost() {
    let mut fleet = Fleet::start(RELAYS).await;

    let before = pairs_apart(&fleet, PAIRS).await;
    let started = tokio::time::Instant::now();
    let quiet = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Drained::default()
    };
    let (control, _, _) = talk(before, quiet).await;
    assert_whole(&control);

    let pairs = pairs_apart(&fleet, PAIRS).await;
    let every_relay_is_used = fleet.statuses().iter().all(|status| status.sessions > 0);
    assert!(every_relay_is_used);
    let rollout = async {
        let mut all = Drained::default();
        for _ in 0..RELAYS {
            all += fleet.replace_oldest(GRACE).await;
        }
        all
    };
    let (rollout, drained, moves) = talk(pairs, rollout).await;
    assert_whole(&rollout);
    assert_eq!(drained.moved, drained.sessions, "{drained:?}");
    assert_eq!((drained.forced, drained.silent, drained.left), (0, 0, 0));
    // All relays and clients share one thread here, whose sockets overflow when the machine is busy: the cluster is where
    // datagrams are judged.
    assert!(rollout.datagram_loss() <= control.datagram_loss() + 0.02, "{rollout:?} {control:?}");
    assert_eq!(moves, drained.moved, "the clients count as the relays do");

    let figure = |what: &str, value: String| figures::record("upgrade", what, value);
    figure("sessions that moved", format!("{} of {}", drained.moved, drained.sessions));
    figure("blocks of 1000 B", format!("{} of {}", rollout.blocks_received, rollout.blocks_sent));
    figure("datagrams", format!("{} of {}", rollout.datagrams_received, rollout.datagrams_sent));
    let stall = |outcome: &Outcome| format!("{} ms", outcome.longest_stall.as_millis());
    figure(
        "longest stall of a stream",
        format!("{} (control {})", stall(&rollout), stall(&control)),
    );
    figure("all of it", format!("{} s", started.elapsed().as_secs()));
    fleet.stop().await;
}

fn assert_whole(outcome: &Outcome) {
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
    assert!(outcome.blocks_sent > 0);
    assert_eq!(outcome.blocks_sent, outcome.blocks_received);
    assert_eq!(outcome.datagrams_repeated, 0);
}
