//! Paths that carry no more than every path must.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_client::ClientConfig;
use baton_protocol::packet::MIN_MTU;
use baton_tests::figures;
use baton_tests::fleet::Fleet;
use baton_tests::outside::Outside;
use baton_tests::traffic::{Flow, Offered, Pair, exchange};
use baton_tests::udp_proxy::{Both, Conditions, UdpProxy};
use tokio::sync::watch;

/// How long each is done.
const TALK: Duration = Duration::from_secs(3);

/// A datagram of its owner's has one byte more of payload.
const FULL: usize = 1199;

fn client(fleet: &Fleet, seed: u8, address: SocketAddr) -> ClientConfig {
    let mut config = fleet.client(seed);
    let mut profile = (*config.profile).clone();
    profile.addresses = vec![address.to_string()];
    config.profile = Arc::new(profile);
    config
}

fn sum(fleet: &Fleet, series: &str) -> u64 {
    let metrics = fleet.metrics();
    let lines = metrics.iter().flat_map(|metrics| metrics.lines());
    let counts = lines.filter(|line| line.starts_with(series));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Talks over paths that carry packets of this size, each way as late as that.
async fn talk(max_size: u16, delay: Duration) {
    let fleet = Fleet::start(2).await;
    let conditions = Conditions { max_size: Some(max_size.into()), delay, ..Conditions::default() };
    let here = Arc::new(Outside::here());
    let proxy = UdpProxy::start(here, fleet.address(), Both::same(conditions), 1).await.unwrap();
    let [one, other] = [1, 2].map(|seed| client(&fleet, seed, proxy.address()));
    let mut pair = Pair::connect(one, other).await;
    let [one, other] = pair.clients().clone();
    let flow = Flow { every: Duration::from_millis(10), burst: 1, length: FULL };
    let full = exchange(&one, &other, flow, after(TALK)).await.unwrap();
    let (sent, came) = (full.sent, full.received.count());
    figures::record(
        &format!("a path of {max_size} bytes"),
        "full payloads",
        format!("{came} of {sent}"),
    );
    assert_eq!(full.received.duplicates(), 0);
    assert!(came > 0 && sent - came <= sent / 100, "{came} of {sent}");
    for way in ["in", "out"] {
        let detours = sum(&fleet, &format!(r#"baton_relay_detours_total{{direction="{way}"}}"#));
        assert!(detours >= came, "{detours} {way} by streams, where the path carries {max_size}");
    }
    pair.talk(Offered::default(), after(TALK)).await.assert_whole();
    for status in pair.statuses() {
        assert_eq!((status.resumes, status.failures.len()), (0, 0), "{status:?}");
    }
    pair.close().await;
    fleet.stop().await;
}

/// Says stop after so long.
fn after(time: Duration) -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        stop.send_replace(true);
    });
    stopped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_payloads_and_sealed_streams_pass_where_packets_of_1200_bytes_do() {
    talk(MIN_MTU, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_payloads_and_sealed_streams_pass_where_ipv6_needs_no_more_and_is_far_away() {
    // 1,280 less the headers of IPv6 and UDP.
    talk(1232, Duration::from_millis(20)).await;
}
