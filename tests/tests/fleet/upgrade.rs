//! Every relay is replaced while peers talk.

use std::time::Duration;

use baton_tests::figures;
use baton_tests::fleet::{Drained, Fleet};
use baton_tests::traffic::{Offered, Outcome, Pair, Talked, pairs_apart, talk};

const RELAYS: usize = 3;
const PAIRS: usize = 15;
const GRACE: Duration = Duration::from_secs(30);

/// What is left of a run before and after what it is about.
const MARGIN: Duration = Duration::from_secs(1);

async fn pairs_of(fleet: &Fleet) -> Vec<Pair> {
    let mut seed = 0;
    pairs_apart(PAIRS, || {
        seed += 2;
        [fleet.client(seed), fleet.client(seed + 1)]
    })
    .await
}

#[tokio::test]
async fn a_whole_fleet_is_replaced_under_live_streams_and_nothing_is_lost() {
    let mut fleet = Fleet::start(RELAYS).await;

    let before = pairs_of(&fleet).await;
    let started = tokio::time::Instant::now();
    let quiet = tokio::time::sleep(Duration::from_secs(5));
    let (control, ()) = talk(before, Offered::default(), MARGIN, quiet).await;
    let control = control.outcome;
    control.assert_whole();

    let pairs = pairs_of(&fleet).await;
    let every_relay_is_used = fleet.statuses().iter().all(|status| status.sessions > 0);
    assert!(every_relay_is_used);
    let rollout = async {
        let mut all = Drained::default();
        for _ in 0..RELAYS {
            all += fleet.replace_oldest(GRACE).await;
        }
        all
    };
    let (rollout, drained) = talk(pairs, Offered::default(), MARGIN, rollout).await;
    let Talked { outcome: rollout, handovers, .. } = rollout;
    rollout.assert_whole();
    assert_eq!(drained.moved, drained.sessions, "{drained:?}");
    assert_eq!((drained.forced, drained.silent, drained.left), (0, 0, 0));
    // All relays and clients share one thread here, whose sockets overflow when the machine is busy: the cluster is where
    // datagrams are judged.
    assert!(rollout.datagram_loss() <= control.datagram_loss() + 0.02, "{rollout:?} {control:?}");
    assert_eq!(handovers, drained.moved, "the clients count as the relays do");

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
