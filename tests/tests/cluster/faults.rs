//! Faults on order, and that they are mended.

use std::time::Duration;

use baton_cluster::control::{Ask, Component, Connection};
use baton_cluster::node_init::{Act, Daemon, DaemonState};
use baton_tests::cluster::{self, DEADLINE, TestNamespace};
use baton_tests::flows::Probe;
use baton_tests::outside::Outside;
use tokio::time::{Instant, sleep, timeout};

use crate::stage::{self, NODES};

/// How long something must stay as it is before it counts as staying.
const WATCHED: Duration = Duration::from_secs(3);

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
        let mut asked = 0;
        for (component, act) in [
            (Component::KubeApiserver, Act::Freeze),
            (Component::KubeApiserver, Act::Kill),
            (Component::Etcd, Act::Stop),
        ] {
            faults.ask(Ask::ControlPlane { component, act }).await;
            let broken = Instant::now();
            while broken.elapsed() < WATCHED {
                assert_eq!(flow.ask().await.pod, pod, "{component} {act:?} moved a flow");
                Probe::new(&outside, target).await.ask().await;
                asked += 1;
                sleep(Duration::from_millis(50)).await;
            }
            assert!(!is_api_ready(namespace).await, "{component} {act:?} broke nothing");
            faults.ask(Ask::ControlPlane { component, act: Act::Start }).await;
            while !is_api_ready(namespace).await {
                assert!(broken.elapsed() < DEADLINE, "{component} does not recover");
                sleep(Duration::from_millis(50)).await;
            }
        }
        namespace.figure("new flows answered without a control plane", asked);
    })
    .await;
}

/// Does the API server say in time that it is ready?
async fn is_api_ready(namespace: &TestNamespace) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
    let client = namespace.client();
    let answer = timeout(Duration::from_secs(2), client.request_text(request)).await;
    matches!(answer, Ok(Ok(_)))
}

#[tokio::test]
async fn a_stopped_daemon_stays_stopped_and_one_that_dies_shows() {
    cluster::breaking_test("daemons", "it stops daemons", async |_, faults| {
        let node = async || {
            let status = Connection::open().await.unwrap().status().await.unwrap();
            status.nodes[&"n1".parse().unwrap()].clone()
        };
        let states = async || node().await.daemons;
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

        // Not by order, but as the kernel ends what takes too much memory.
        kill("kube-proxy", node().await.process_1);
        let killed = Instant::now();
        let exited = loop {
            match states().await.remove(&Daemon::KubeProxy).unwrap() {
                DaemonState::Running => sleep(Duration::from_millis(20)).await,
                other => break other,
            }
            assert!(killed.elapsed() < DEADLINE, "its death does not show");
        };
        assert_eq!(exited, DaemonState::Exited("signal 9".to_owned()));
        // And it stays dead: nobody starts it again but by order.
        sleep(WATCHED).await;
        assert_eq!(states().await[&Daemon::KubeProxy], exited);
        faults.daemon("n1", Daemon::KubeProxy, Act::Start).await;
        assert_eq!(states().await[&Daemon::KubeProxy], DaemonState::Running);
    })
    .await;
}

/// Kills the child of `parent` that runs this program.
fn kill(program: &str, parent: u32) {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let found: Vec<String> = processes
        .filter(|entry| {
            // proc_pid_stat(5): the command in parentheses, then state and parent.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parents = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            parents == Some(&parent.to_string()) && stat.contains(&format!("({program})"))
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let [process] = &found[..] else { panic!("one {program} below {parent}: {found:?}") };
    let status = std::process::Command::new("kill").args(["-KILL", process]).status().unwrap();
    assert!(status.success());
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
