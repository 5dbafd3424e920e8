//! A hundred migrations over each kind of bad network, and a thousand at once over a lossy one.

use std::time::Duration;

use baton_tests::figures;
use baton_tests::traffic::{Flow, exchange};
use baton_tests::udp_proxy::{Both, Conditions};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::stage::{Ends, Stage, after, assert_stayed, connections, migrate_all, socket};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What a probe may take.
const PROBE: Duration = Duration::from_secs(3);

/// Clients, and how often each of them migrates.
const HUNDRED: (u8, usize) = (10, 10);
const THOUSAND: (u8, usize) = (50, 20);

/// Of a hundred, where the new path passes packets.
const SUCCESS: f64 = 0.99;

/// Of a thousand, with a twentieth of all packets lost in each direction. A migration takes one exchange of eight probes at most
/// and some sixty of confirmations, each of which fails with a chance of 0.1: none fails for it in a thousand.
const OF_THOUSAND: f64 = 0.999;

async fn over(what: &str, conditions: Conditions, (clients, times): (u8, usize)) -> Ends {
    let stage = Stage::set(Both::same(conditions), 42).await;
    let clients = stage.clients(1..=clients, PROBE).await;
    let before = connections(&clients);
    let ends = migrate_all(&clients, times).await;
    stage.counts("path", &ends).await;
    assert_stayed(&clients, &before);
    for client in clients {
        client.close().await;
    }
    // What had not come to its end has one when the relay's sessions have theirs.
    let metrics = stage.fleet.last_metrics().await;
    assert_eq!(Ends::of(&metrics[0], "path"), ends);
    assert_eq!(Ends::of(&metrics[0], "rebind"), Ends::default(), "all of them were announced");
    figures::record(
        "paths",
        &format!("migrations, {what}"),
        format!("{} of {} succeeded; the relay counts the same", ends.ok, ends.all()),
    );
    ends
}

/// As many open files as this process may have.
fn raise_open_files() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn share(ends: &Ends) -> f64 {
    ends.ok as f64 / ends.all() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_succeed_whatever_the_network_does_as_long_as_it_passes_packets() {
    let good = Conditions::default();
    let each = [
        ("a good network", good),
        ("5 % lost", Conditions { loss: 0.05, ..good }),
        ("reordered by up to 20 ms", Conditions { jitter: 20 * MS, ..good }),
        ("a fifth doubled", Conditions { repeat: 0.2, ..good }),
        ("50 ms each way", Conditions { delay: 50 * MS, ..good }),
        (
            "all of that",
            Conditions { loss: 0.05, jitter: 20 * MS, repeat: 0.2, delay: 50 * MS, ..good },
        ),
    ];
    for (what, conditions) in each {
        let ends = over(what, conditions, HUNDRED).await;
        assert_eq!(ends.all(), 100);
        assert!(share(&ends) >= SUCCESS, "{what}: {ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_migrations_of_fifty_sessions_succeed_over_a_lossy_network() {
    // The network keeps a socket for each address that ever was.
    raise_open_files().unwrap();
    let conditions = Conditions { loss: 0.05, delay: 10 * MS, ..Conditions::default() };
    let ends = over("1,000 in 50 sessions, 5 % lost", conditions, THOUSAND).await;
    assert_eq!(ends.all(), 1000);
    assert!(share(&ends) >= OF_THOUSAND, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_a_narrower_path_is_lost_for_a_moment_and_not_for_ever() {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let clients = stage.clients(1..=2, PROBE).await;
    let before = connections(&clients);
    let narrow = Conditions { max_size: Some(1232), ..Conditions::default() };
    stage.network.newcomers(Both::same(narrow), 0);
    let flow = Flow { every: 5 * MS, burst: 1, length: 1199 };
    let (there, back, ()) = tokio::join!(
        exchange(&clients[0], &clients[1], flow, after(10 * SECOND)),
        exchange(&clients[1], &clients[0], flow, after(10 * SECOND)),
        async {
            tokio::time::sleep(2 * SECOND).await;
            clients[0].paths().migrate(socket()).await.unwrap();
        }
    );
    for (way, exchanged) in [("to the relay", there), ("from the relay", back)] {
        let received = exchanged.unwrap().received;
        let gap = received.gaps().longest();
        figures::record(
            "paths",
            &format!("full payloads {way}, longest gap on a path that became narrower"),
            format!("{} ms", gap.as_millis()),
        );
        assert!(gap <= 5 * SECOND, "{way}: {gap:?}");
    }
    assert_stayed(&clients, &before);
    stage.end(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_swallows_everything_is_found_out_by_the_probe_and_counted_by_its_class() {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let clients = stage.clients(1..=HUNDRED.0, 300 * MS).await;
    let before = connections(&clients);
    let hole = Conditions { loss: 1.0, ..Conditions::default() };
    stage.network.newcomers(Both::same(hole), 0);
    let ends = migrate_all(&clients, HUNDRED.1).await;
    assert_eq!(ends, Ends { ok: 0, failed: [("probe_timeout", 100)].into() });
    stage.counts("path", &ends).await;
    assert_stayed(&clients, &before);
    // It was the path, and not the client.
    stage.network.newcomers(Both::same(Conditions::default()), 0);
    let again = migrate_all(&clients, 1).await;
    assert_eq!((again.ok, again.all()), (10, 10));
    figures::record("paths", "black holes", "100 of 100 failed as probe_timeout, counted the same");
    stage.end(clients).await;
}
