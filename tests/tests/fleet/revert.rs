//! A rollout that is taken back in the middle.

use std::time::Duration;

use baton_client::Client;
use baton_relay::status::Phase;
use baton_tests::fleet::Fleet;
use baton_tests::until::until;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_session_that_stayed_opens_new_routes_and_moves_the_next_time() {
    let mut fleet = Fleet::start(1).await;
    let slow = fleet.client(1).move_delay(Duration::from_secs(20));
    let slow = Client::connect(slow).await.unwrap();
    let other = Client::connect(fleet.client(2)).await.unwrap();
    let home = slow.status().relay;
    fleet.add().await;

    fleet.flag_oldest("drain-1", Duration::from_secs(60));
    until("the slow one has acknowledged", PATIENCE, || slow.status().must_move).await;
    let report = || fleet.statuses()[0].drain.clone().unwrap();
    until("and its relay knows", PATIENCE, || report().acknowledged >= 1).await;
    fleet.unflag_oldest();
    until("it may stay", PATIENCE, || !slow.status().must_move).await;
    assert_eq!(slow.status().relay, home);
    assert_eq!(fleet.statuses()[0].state, Phase::Serving);

    let mut route = slow.route(other.peer()).unwrap();
    route.opened().await;
    route.send(b"on a new route").unwrap();
    let (from, payload) = other.datagram().await;
    assert_eq!((from, &payload[..]), (slow.peer(), &b"on a new route"[..]));

    let drained = fleet.drain_oldest(Duration::from_secs(60)).await;
    assert_eq!(drained.forced, 0, "{drained:?}");
    assert_eq!(drained.moved, drained.sessions, "{drained:?}");
    slow.close().await;
    other.close().await;
    fleet.stop().await;
}
