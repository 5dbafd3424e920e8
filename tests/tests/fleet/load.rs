//! The load generator on a small fleet: it does what it says, and sees what is lost.

use std::sync::Arc;
use std::time::Duration;

use baton_client::Profile;
use baton_tests::figures;
use baton_tests::fleet::Fleet;
use baton_tests::load::{Pattern, Plan, Tally, run};
use baton_tests::outside::Outside;
use baton_tests::udp_proxy::{Both, Conditions, UdpProxy};

fn profile(fleet: &Fleet) -> Profile {
    Profile::clone(&fleet.client(0).profile)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_whole_while_peers_of_every_pattern_come_go_vanish_and_change_addresses() {
    let fleet = Fleet::start(2).await;
    let plan = Plan {
        peers: 50,
        mix: "idle=64,sparse=8,bulk=4,streams=24".parse().unwrap(),
        duration: Duration::from_secs(8),
        rebinding: 0.2,
        rebind_every: Duration::from_secs(2),
        churn_per_second: 4.0,
        ghosts_per_second: 2.0,
        ..Plan::default()
    };
    let report = run(&plan, &profile(&fleet)).await;
    println!("{report}");

    assert_eq!(report.tallies.keys().copied().collect::<Vec<_>>(), Pattern::ALL);
    for (pattern, tally) in &report.tallies {
        assert!(tally.received > 0, "{pattern:?}");
        assert_eq!((tally.duplicated, &tally.broken[..]), (0, &[][..]), "{pattern:?}");
    }
    assert_eq!(
        report.tallies[&Pattern::Streams].lost(),
        0,
        "a stream is whole, whatever happens to addresses"
    );
    let datagrams = report.tallies.iter().filter(|(pattern, _)| **pattern != Pattern::Streams);
    let (sent, lost) =
        datagrams.fold((0, 0), |(sent, lost), (_, tally)| (sent + tally.sent, lost + tally.lost()));

    let counted = &report.counted;
    assert!(counted.left > 0 && counted.ghosts > 0, "{report}");
    // Those at the start, those that replaced others, and ghosts.
    assert_eq!(counted.attaches.total(), 50 + counted.left + counted.ghosts, "{report}");
    assert!(counted.rebinds >= 10, "{report}");
    let migrations: u64 = fleet.statuses().iter().map(|status| status.migrations.ok).sum();
    assert!(migrations > 0, "no relay has seen a new address, though {} changed", counted.rebinds);
    let sessions: usize = fleet.statuses().iter().map(|status| status.sessions).sum();
    assert!(
        sessions as u64 >= counted.ghosts,
        "nobody told the relays that ghosts went: {sessions}, {report}"
    );

    let figure = |what, value: String| figures::record("load", what, value);
    figure("datagrams lost", format!("{lost} of {sent}"));
    figure("peers that attached, left, vanished", {
        format!("{}, {}, {}", counted.attaches.total(), counted.left, counted.ghosts)
    });
    figure("addresses changed, and migrations counted by relays", {
        format!("{}, {migrations}", counted.rebinds)
    });
    fleet.stop().await;
}

#[tokio::test]
async fn the_judge_sees_what_a_bad_network_does_and_nothing_of_it_on_a_good_one() {
    let fleet = Fleet::start(1).await;
    let good = sparse_through(&fleet, Conditions::default()).await;
    let jitter = Duration::from_millis(60);
    let bad =
        sparse_through(&fleet, Conditions { loss: 0.1, jitter, ..Conditions::default() }).await;
    let lost = |tally: &Tally| tally.lost() as f64 / tally.sent as f64;
    let late = |tally: &Tally| tally.reordered as f64 / tally.sent as f64;
    // A busy machine's sockets overflow, for both.
    assert!(good.sent > 200 && bad.sent > 200, "{good:?} {bad:?}");
    assert!(lost(&bad) > lost(&good) + 0.04 && lost(&good) < 0.05, "{good:?} {bad:?}");
    assert!(late(&bad) > 0.02 && good.reordered == 0, "{good:?} {bad:?}");
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    figures::record("load", "lost where a tenth is lost", percent(lost(&bad)));
    figures::record("load", "lost where nothing is", percent(lost(&good)));
    fleet.stop().await;
}

/// Five pairs, whose datagrams to the relay pass a network like this.
async fn sparse_through(fleet: &Fleet, up: Conditions) -> Tally {
    let both = Both { up, down: Conditions::default() };
    let outside = Arc::new(Outside::here());
    let proxy = UdpProxy::start(outside, fleet.address(), both, 1).await.unwrap();
    let mut profile = profile(fleet);
    profile.addresses = vec![proxy.address().to_string()];
    let plan = Plan {
        peers: 10,
        mix: "sparse=1".parse().unwrap(),
        duration: Duration::from_secs(5),
        ..Plan::default()
    };
    let mut report = run(&plan, &profile).await;
    println!("{report}");
    report.tallies.remove(&Pattern::Sparse).unwrap()
}
