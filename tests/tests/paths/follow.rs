//! What a client does by itself: it follows its machine, and reports what its last relay could not be told.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use baton_client::{Client, Options, Sockets};
use baton_tests::udp_proxy::{Both, Conditions, Path};
use baton_tests::until::until;

use crate::stage::{Ends, Stage, assert_stayed, connections, socket};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_machine_gets_another_address_migrates_by_itself() {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let at = Arc::new(AtomicU8::new(1));
    let machine = at.clone();
    let sockets = Sockets::new(move |_| match machine.load(Ordering::Relaxed) {
        0 => Err(std::io::ErrorKind::NetworkUnreachable.into()),
        last => UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)),
    });
    let config = stage.config(1).sockets(sockets.followed());
    let clients = [Client::connect(config).await.unwrap()];
    let before = connections(&clients);
    for (number, address) in [2, 3, 1].into_iter().enumerate() {
        // For a moment it has no network at all.
        at.store(0, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        at.store(address, Ordering::Relaxed);
        stage.counts("path", &Ends { ok: number as u64 + 1, failed: [].into() }).await;
        let local = || clients[0].status().path.unwrap().local.unwrap().ip();
        until("it uses the address", PATIENCE, || local() == Ipv4Addr::new(127, 0, 0, address))
            .await;
    }
    assert_stayed(&clients, &before);
    assert_eq!(clients[0].status().migrations, 3);
    stage.end(clients.into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_ends_with_its_session_is_reported_in_the_next_one_once() {
    let good = Both::same(Conditions::default());
    let stage = Stage::set(good, 1).await;
    let mut options = Options::default();
    options.probe = 3 * PATIENCE;
    options.unanswered = Duration::from_secs(1);
    let client = Client::connect(stage.config(1).options(options)).await.unwrap();
    // It probes a path that is a hole, when its own path dies.
    stage.network.newcomers(Both::same(Conditions { loss: 1.0, ..good.up }), 0);
    let trying = client.clone();
    let trying = tokio::spawn(async move { trying.paths().migrate(socket()).await });
    until("it probes", PATIENCE, || stage.network.clients() == 2).await;
    stage.network.newcomers(good, 0);
    stage.network.rebind(Path::NoWayBack);
    let client = &client;
    let talking = async {
        loop {
            let _ = client.route(client.peer()).unwrap().send(b"anyone?");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let counted = async {
        until("it is counted", PATIENCE, || stage.counted("path").all() == 1).await;
    };
    tokio::select! {
        () = talking => {}
        () = counted => {}
    }
    assert_eq!(stage.counted("path"), Ends { ok: 0, failed: [("cancelled", 1)].into() });
    assert_eq!(client.status().resumes, 1);
    assert!(trying.await.unwrap().is_err());
    // And the next one has a number of its own.
    client.paths().migrate(socket()).await.unwrap();
    stage.counts("path", &Ends { ok: 1, failed: [("cancelled", 1)].into() }).await;
    stage.end(vec![client.clone()]).await;
}
