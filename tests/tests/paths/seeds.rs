//! What must hold of path migration, by name.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use baton_client::{Allow, Client, Event, FailureClass, MigrationError, ServiceName};
use baton_tests::traffic::{Flow, exchange};
use baton_tests::udp_proxy::{Both, Conditions};

use crate::stage::{Ends, Stage, assert_stayed, connections, socket};

/// What a probe may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Two clients that reach the relay by the network between.
async fn scene() -> (Stage, Vec<Client>) {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let clients = stage.clients(1..=2, DEADLINE).await;
    (stage, clients)
}

fn local(client: &Client) -> std::net::SocketAddr {
    client.status().path.unwrap().local.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_migrates_between_two_real_paths_and_stays_the_same_connection() {
    let (stage, mut clients) = scene().await;
    // Past the network: two addresses of this machine.
    let mut config = stage.fleet.client(3);
    let mut profile = (*config.profile).clone();
    profile.addresses = vec![stage.fleet.address_of_oldest().to_string()];
    config.profile = profile.into();
    let client = Client::connect(config).await.unwrap();
    let mut events = client.events();
    clients.push(client.clone());
    let before = connections(&clients);
    let (relay, sessions) = (client.status().relay, stage.relay().sessions);

    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut path = client.paths().add(other).unwrap();
    let probed = path.probe().await.unwrap();
    assert_eq!((probed.observed, Some(probed.ingress)), (address, relay));
    assert_ne!(local(&client), address, "a probe moves nothing");
    assert_eq!(stage.counted("path"), Ends::default());
    let migrated = path.switch().await.unwrap().confirm().await.unwrap();
    assert_eq!(migrated.local, Some(address));

    assert_stayed(&clients, &before);
    stage.counts("path", &Ends { ok: 1, failed: [].into() }).await;
    assert_eq!(stage.relay().sessions, sessions);
    let moved = async { while !matches!(events.next().await, Some(Event::Migrated { .. })) {} };
    tokio::time::timeout(DEADLINE, moved).await.expect("its owner is told");
    let path = client.status().path.unwrap();
    assert_eq!((path.local, path.observed), (Some(address), address));

    // A stream that did not exist before.
    let web: ServiceName = "web".parse().unwrap();
    clients[0].offer(web.clone(), Allow::Any);
    let accepting = async { clients[0].accept().await.unwrap().accept().await };
    let (opened, incoming) = tokio::join!(client.open(clients[0].peer(), &web), accepting);
    let ((mut send, _), (_, mut receive)) = (opened.unwrap(), incoming.unwrap());
    send.write_all(b"fresh").await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(100).await.unwrap(), b"fresh");
    assert_eq!(stage.counted("path").ok, 1, "once");
    stage.end(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_silently_dropped_is_an_error_in_time_and_harms_nothing() {
    let (stage, clients) = scene().await;
    let before = connections(&clients);
    let hole = Conditions { loss: 1.0, ..Conditions::default() };
    stage.network.newcomers(Both::same(hole), 0);
    let was = local(&clients[0]);

    // Traffic both ways on the old path, from before the probe until after its end.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let flow = Flow { every: Duration::from_millis(5), burst: 1, length: 1000 };
    let [one, other] = [&clients[0], &clients[1]];
    let probing = async {
        let began = Instant::now();
        let failed = one.paths().migrate(socket()).await.unwrap_err();
        stop.send_replace(true);
        (failed, began.elapsed())
    };
    let (there, back, (failed, took)) = tokio::join!(
        exchange(one, other, flow, stopped.clone()),
        exchange(other, one, flow, stopped),
        probing,
    );
    assert!(matches!(failed, MigrationError::Probe { .. }), "{failed}");
    assert_eq!(failed.class(), FailureClass::ProbeTimeout);
    let (least, most) = (DEADLINE - Duration::from_millis(100), DEADLINE + Duration::from_secs(2));
    assert!((least..=most).contains(&took), "{took:?}");
    for exchanged in [there.unwrap(), back.unwrap()] {
        assert!(exchanged.sent > 100);
        assert_eq!(exchanged.received.count(), exchanged.sent, "the old path carries everything");
    }

    // Its record is kept, and it may try again.
    assert_stayed(&clients, &before);
    assert_eq!((stage.relay().sessions, local(one)), (2, was));
    stage.counts("path", &Ends { ok: 0, failed: [("probe_timeout", 1)].into() }).await;
    stage.network.newcomers(Both::same(Conditions::default()), 0);
    one.paths().migrate(socket()).await.unwrap();
    stage.counts("path", &Ends { ok: 1, failed: [("probe_timeout", 1)].into() }).await;
    assert_stayed(&clients, &before);
    stage.end(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_or_taken_back_leaves_the_session_where_it_was() {
    let (stage, clients) = scene().await;
    let before = connections(&clients);
    let (client, was) = (&clients[0], local(&clients[0]));
    let paths = client.paths();

    // Added, and forgotten: nothing has happened.
    drop(paths.add(socket()).unwrap());
    // A probe whose owner waits no more.
    let hole = Conditions { loss: 1.0, ..Conditions::default() };
    stage.network.newcomers(Both::same(hole), 0);
    let mut path = paths.add(socket()).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(200), path.probe()).await;
    assert!(given_up.is_err());
    stage.counts("path", &Ends { ok: 0, failed: [("cancelled", 1)].into() }).await;
    // One at a time.
    let (probing, refused) = tokio::join!(path.probe(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        paths.migrate(socket()).await
    });
    assert!(matches!(refused, Err(MigrationError::Busy)), "{refused:?}");
    assert!(matches!(probing, Err(MigrationError::Probe { .. })));
    // A switch that is taken back before it is confirmed.
    let switched = path.switch().await.unwrap();
    switched.roll_back().await.unwrap();
    let failed = [("cancelled", 2), ("probe_timeout", 1)].into();
    stage.counts("path", &Ends { ok: 0, failed }).await;
    assert_eq!(local(client), was);
    assert_stayed(&clients, &before);

    let closed = clients[1].clone();
    closed.close().await;
    assert!(matches!(closed.paths().add(socket()), Err(MigrationError::NoSession)));
    stage.end(clients).await;
}
