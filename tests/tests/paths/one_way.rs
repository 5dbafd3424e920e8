//! Paths that carry packets to the relay, and none back.

use std::time::Duration;

use baton_client::{Client, FailureClass};
use baton_tests::figures;
use baton_tests::udp_proxy::{Both, Conditions, Path};

use crate::stage::{Ends, Stage, assert_stayed, connections, socket};

const PROBE: Duration = Duration::from_secs(3);

/// A client goes to a path that it has not probed.
async fn switch(client: Client) -> Option<FailureClass> {
    let switched = client.paths().add(socket()).unwrap().switch().await.unwrap();
    switched.confirm().await.err().map(|error| error.class())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_attempt_fails_as_validation_timeout_once_and_the_session_is_back() {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let clients = stage.clients(1..=10, PROBE).await;
    let before = connections(&clients);
    let deaf = Conditions { loss: 1.0, ..Conditions::default() };
    stage.network.newcomers(Both { up: Conditions::default(), down: deaf }, 0);
    let switching: Vec<_> =
        clients.iter().map(|client| tokio::spawn(switch(client.clone()))).collect();
    for switched in switching {
        assert_eq!(switched.await.unwrap(), Some(FailureClass::ValidationTimeout));
    }
    let expected = Ends { ok: 0, failed: [("validation_timeout", 10)].into() };
    stage.counts("path", &expected).await;
    assert_stayed(&clients, &before);
    // The sessions work where they were.
    let route = clients[0].route(clients[1].peer()).unwrap();
    route.send(b"still here").unwrap();
    let heard = tokio::time::timeout(PROBE, clients[1].datagram()).await.expect("it arrives");
    assert_eq!(&heard.1[..], b"still here");
    assert_eq!(stage.counted("path"), expected, "each once");
    figures::record(
        "paths",
        "no way back, announced",
        "10 of 10 failed as validation_timeout, once",
    );
    stage.end(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_rebinding_fails_as_validation_timeout_once_however_its_session_ends() {
    let stage = Stage::set(Both::same(Conditions::default()), 1).await;
    let clients = stage.clients(1..=10, PROBE).await;
    stage.network.rebind(Path::NoWayBack);
    // They say something, hear nothing, and come back by another connection.
    let talking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            for client in &clients {
                let _ = client.route(client.peer()).unwrap().send(b"anyone?");
            }
        }
    };
    let expected = Ends { ok: 0, failed: [("validation_timeout", 10)].into() };
    tokio::select! {
        () = talking => {}
        () = stage.counts("rebind", &expected) => {}
    }
    assert_eq!(stage.counted("path"), Ends::default());
    assert!(clients.iter().all(|client| client.status().resumes == 1));
    figures::record("paths", "no way back, silent", "10 of 10 failed as validation_timeout, once");
    stage.end(clients).await;
}
