//! Faults on order, and that they are mended.

use std::time::Duration;

use baton_cluster::control::{Ask, Component, Connection};
use baton_cluster::node_init::{Act, Daemon, DaemonState};
use baton_tests::cluster::{self, DEADLINE};
use baton_tests::flows::Probe;
use baton_tests::outside::Outside;
use tokio::time::{Instant, sleep};

use crate::stage::{self, NODES};

#[tokio::test]
async fn a_cut_link_is_restored_when_whoever_cut_it_is_gone() {
    cluster::breaking_test("link", "it cuts a node's link", async |_, faults| {
        faults.link("n2", false).await;
        let mut own = Connection::open().await.unwrap();
        assert!(!own.status().await.unwrap().nodes[&"n2".parse().unwrap()].link_up);
        // Another's fault, whose connection closes as if it had been killed.
        let mut other = Connection::open().await.unwrap();
        other.ask(Ask::Link { node: "n3".parse().unwrap(), up: false }).await.unwrap();
        assert!(!own.status().await.unwrap().nodes[&"n3".parse().unwrap()].link_up);
        drop(other);
        let started = Instant::now();
        while !own.status().await.unwrap().nodes[&"n3".parse().unwrap()].link_up {
            assert!(started.elapsed() < DEADLINE, "the link is not restored");
            sleep(Duration::from_millis(20)).await;
        }
        assert!(!own.status().await.unwrap().nodes[&"n2".parse().unwrap()].link_up);
    })
    .await;
}

#[tokio::test]
async fn pods_serve_on_while_the_control_plane_is_down_or_frozen() {
    cluster::breaking_test("control_plane", "it stops daemons", async |namespace, faults| {
        stage::pods(namespace, &NODES).await;
        let target = stage::balanced_service(namespace).await;
        let outside = Outside::create().await;
        let mut flow = Probe::new(&outside, target).await;
        let pod = flow.ask().await.pod;
        for (component, act) in [
            (Component::KubeApiserver, Act::Freeze),
            (Component::KubeApiserver, Act::Kill),
            (Component::Etcd, Act::Stop),
        ] {
            faults.ask(Ask::ControlPlane { component, act }).await;
            assert_eq!(flow.ask().await.pod, pod, "{component} {act:?}");
            faults.ask(Ask::ControlPlane { component, act: Act::Start }).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_daemon_stays_stopped_and_one_that_dies_shows() {
    cluster::breaking_test("daemons", "it stops daemons", async |_, faults| {
        let states = async || {
            let status = Connection::open().await.unwrap().status().await.unwrap();
            status.nodes[&"n1".parse().unwrap()].daemons.clone()
        };
        for (act, state) in [
            (Act::Freeze, DaemonState::Frozen),
            (Act::Kill, DaemonState::Stopped),
            (Act::Start, DaemonState::Running),
            (Act::Stop, DaemonState::Stopped),
        ] {
            faults.daemon("n1", Daemon::KubeProxy, act).await;
            assert_eq!(states().await[&Daemon::KubeProxy], state, "{act:?}");
        }
        faults.daemon("n1", Daemon::KubeProxy, Act::Start).await;
        assert_eq!(states().await[&Daemon::KubeProxy], DaemonState::Running);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_reason() {
    cluster::test_on_ours("refusals", "it asks our supervisor", async |_| {
        let mut connection = Connection::open().await.unwrap();
        let client = || "no-such-client".to_owned();
        for (ask, reason) in [
            (Ask::Link { node: "n9".parse().unwrap(), up: true }, "no node n9"),
            (Ask::RemoveClient { client: client() }, "no client no-such-client"),
            (Ask::RebindClient { client: client() }, "no client no-such-client"),
            (Ask::AddClient { client: "Up Per".to_owned() }, "no name for a client"),
            (Ask::LoseClient { client: client(), per_mille: 1001 }, "no rate of loss"),
            (Ask::LoadImage { archive: "/no/such/archive".into() }, "/no/such/archive"),
        ] {
            let refused = connection.ask(ask.clone()).await.unwrap_err().to_string();
            assert!(refused.contains(reason), "{ask:?}: {refused}");
        }
        // A client that exists is not taken over, and stays when the second asker goes.
        let add = Ask::AddClient { client: "twice".to_owned() };
        connection.ask(add.clone()).await.unwrap();
        let mut second = Connection::open().await.unwrap();
        second.ask(add).await.unwrap_err();
        drop(second);
        let status = connection.status().await.unwrap();
        assert!(status.clients.contains_key("twice"));
    })
    .await;
}
