//! Machines outside: their addresses change, and their links are bad, on order.

use std::sync::Arc;
use std::time::Duration;

use baton_cluster::control::{Ask, Connection, Reply};
use baton_cluster::names;
use baton_cluster::netns::NetNs;
use baton_cluster::run::run;
use baton_tests::cluster;
use baton_tests::figures::Spread;
use baton_tests::flows::Probe;
use baton_tests::outside::Outside;
use baton_tests::udp_proxy::{Both, Conditions, UdpProxy};

use crate::stage::{self, NODES};

const WHY: &str = "it changes a router";

#[tokio::test]
async fn a_rebinding_changes_the_port_and_a_move_the_address_that_the_pod_sees() {
    cluster::test_on_ours("nat", WHY, async |namespace| {
        stage::pods(namespace, &NODES).await;
        let target = stage::balanced_service(namespace).await;
        stage::make_local(namespace).await;
        let mut outside = Outside::create().await;
        let mut flow = Probe::new(&outside, target).await;
        let mut seen = flow.ask().await.seen;
        assert_eq!(Some(seen.ip()), outside.public().map(Into::into));

        let mut ports = vec![seen.port()];
        for _ in 0..5 {
            outside.rebind().await;
            let now = flow.ask().await.seen;
            assert_eq!(now.ip(), seen.ip());
            ports.push(now.port());
            seen = now;
        }
        // A port may come again by chance, one in tens of thousands.
        let changes = ports.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes >= 4, "{ports:?}");
        namespace.figure("rebindings that changed the port", format!("{changes} of 5"));

        let address = outside.change_address().await;
        let now = flow.ask().await.seen;
        assert_eq!(now.ip(), address);
        assert_ne!(now.ip(), seen.ip());
        // And it still works afterwards, there and back.
        outside.rebind().await;
        assert_eq!(flow.ask().await.seen.ip(), address);
        outside.change_address().await;
        assert_ne!(flow.ask().await.seen.ip(), address);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_removed_is_gone_at_once_whoever_still_looks_into_it() {
    cluster::test_on_ours("removed_client", WHY, async |_| {
        let mut connection = Connection::open().await.unwrap();
        let client = || format!("removed-{}", std::process::id());
        for _ in 0..5 {
            let added = connection.ask(Ask::AddClient { client: client() }).await.unwrap();
            let Reply::Client { public } = added else { panic!("{added:?}") };
            // Keeps the router's namespace alive, and the cables in it.
            let _inside = NetNs::open(&names::router_namespace(&client())).unwrap();
            let uplink = format!("uplink{}", public.octets()[2]);
            let network = names::network_namespace();
            let show = ["-n", &network, "link", "show", &uplink];
            run("ip", show).await.unwrap();
            connection.ask(Ask::RemoveClient { client: client() }).await.unwrap();
            run("ip", show).await.unwrap_err();
        }
    })
    .await;
}

#[tokio::test]
async fn a_lossy_link_loses_what_was_asked_for_in_each_direction() {
    const ASKED: u64 = 600;
    cluster::test_on_ours("loss", WHY, async |namespace| {
        stage::pods(namespace, &NODES[..1]).await;
        let target = stage::balanced_service(namespace).await;
        let mut outside = Outside::create().await;
        let mut flow = Probe::new(&outside, target).await;
        flow.ask().await;
        // 20 % each way: 36 % of the round trips.
        outside.lose(200).await;
        let lost = ASKED - flow.count_answers(ASKED).await;
        namespace.figure("round trips lost at 20 % each way", format!("{lost} of {ASKED}"));
        // Five standard deviations of a binomial to either side: 12 each.
        assert!((216 - 60..=216 + 60).contains(&lost), "{lost} of {ASKED} lost");
        outside.lose(0).await;
        flow.ask().await;
    })
    .await;
}

#[tokio::test]
async fn a_proxy_in_between_delays_by_what_was_asked_for() {
    cluster::test_on_ours("delay", "it wants a node called n1", async |namespace| {
        stage::pods(namespace, &NODES[..1]).await;
        let target = stage::balanced_service(namespace).await;
        let outside = Arc::new(Outside::create().await);
        let delay = Duration::from_millis(25);
        let conditions = Both::same(Conditions { delay, ..Conditions::default() });
        let proxy = UdpProxy::start(Arc::clone(&outside), target, conditions, 1).await.unwrap();
        let mut flow = Probe::new(&outside, proxy.address()).await;
        // The first may come before the proxies know the pod.
        flow.ask().await;
        let mut took = Vec::new();
        for _ in 0..20 {
            let answer = flow.ask_once(Duration::from_secs(5)).await.expect("nothing is lost");
            assert!(answer.took >= 2 * delay, "{:?}", answer.took);
            took.push(answer.took.as_secs_f64() * 1e3);
        }
        namespace.figure("round trip at 25 ms each way, ms", Spread::of(took));
    })
    .await;
}
