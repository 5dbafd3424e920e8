//! How long a client hears nothing that only listens, when the first packets after a change of its address are lost.

use std::time::Duration;

use baton_client::Client;
use baton_tests::figures;
use baton_tests::traffic::{Exchanged, Flow, exchange};
use baton_tests::udp_proxy::{Both, Conditions, Path};

use crate::stage::{Stage, after, assert_stayed, connections, socket};

const MS: Duration = Duration::from_millis(1);

/// Times each way.
const DELAYS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(25)];

/// Changes for each number of lost packets.
const CHANGES: u32 = 3;

/// Between two of them.
const EVERY: Duration = Duration::from_millis(1500);

/// A NAT that forgets says nothing: the client notices by the silence, 300 ms at least and three probe timeouts, and asks up to four
/// times.
fn silent_bound(rtt: Duration, lost: u32) -> Duration {
    let noticed = (300 * MS).max((rtt * 2 + 25 * MS) * 3);
    let asked = rtt.max(50 * MS) * (2_u32.pow(lost) - 1);
    noticed + asked + rtt * 2 + 200 * MS
}

/// One client talks, and another one, which sends nothing, changes its address. Gives what the second one heard.
async fn listen(
    stage: &Stage,
    clients: &[Client],
    mut change: impl AsyncFnMut(&Client),
) -> Exchanged {
    let (speaker, listener) = (&clients[0], &clients[1]);
    let before = connections(clients);
    let flow = Flow { every: 5 * MS, burst: 1, length: 1000 };
    let stop = after(EVERY * (CHANGES + 1));
    let changing = async {
        for _ in 0..CHANGES {
            tokio::time::sleep(EVERY).await;
            change(listener).await;
        }
    };
    let (heard, ()) = tokio::join!(exchange(speaker, listener, flow, stop), changing);
    assert_stayed(clients, &before);
    assert_eq!(stage.relay().sessions, 2);
    heard.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_change_of_its_own_the_gap_is_four_round_trips_and_200_ms_at_most() {
    for (delay, listens) in DELAYS.into_iter().zip(["127.0.0.1", "127.0.0.1", "[::]"]) {
        let conditions = Both::same(Conditions { delay, ..Conditions::default() });
        let (rtt, bound) = (delay * 2, delay * 8 + 200 * MS);
        for lost in 1..=3 {
            let stage = match listens {
                "[::]" => Stage::dual_stack(conditions, 3).await,
                _ => Stage::set(conditions, 3).await,
            };
            let clients = stage.clients(1..=2, Duration::from_secs(3)).await;
            stage.network.newcomers(conditions, lost);
            let heard = listen(&stage, &clients, async |listener: &Client| {
                listener.paths().migrate(socket()).await.unwrap();
            })
            .await;
            let gap = heard.received.gaps().longest();
            figures::record(
                "paths",
                &format!("gap after a change, {lost} packets lost, RTT {} ms", rtt.as_millis()),
                format!("{} ms (at most {})", gap.as_millis(), bound.as_millis()),
            );
            assert!(gap <= bound, "{lost} lost, {rtt:?}: {gap:?}");
            assert_eq!(stage.counted("path").ok, u64::from(CHANGES));
            stage.end(clients).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rebinding_that_nobody_tells_it_of_the_gap_is_bounded_too() {
    for delay in DELAYS {
        let conditions = Both::same(Conditions { delay, ..Conditions::default() });
        let rtt = delay * 2;
        for lost in 0..=3 {
            let stage = Stage::set(conditions, 3).await;
            let clients = stage.clients(1..=2, Duration::from_secs(3)).await;
            // Only the one that listens is rebound: the other one comes past the network.
            let heard = listen(&stage, &clients, async |_: &Client| {
                stage.network.rebind_and_lose(Path::Whole, lost);
            })
            .await;
            let (gap, bound) = (heard.received.gaps().longest(), silent_bound(rtt, lost));
            figures::record(
                "paths",
                &format!("gap after a rebinding, {lost} packets lost, RTT {} ms", rtt.as_millis()),
                format!("{} ms (at most {})", gap.as_millis(), bound.as_millis()),
            );
            assert!(gap <= bound, "{lost} lost, {rtt:?}: {gap:?}, at most {bound:?}");
            stage.end(clients).await;
        }
    }
}
