//! TCP and UDP go through the command while every relay is replaced and addresses change.

use std::time::Duration;

use baton_tests::figures;
use baton_tests::fleet::{Drained, Fleet};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::applications::{rsync, wireguard};
use crate::baton::{Baton, Place};

const RELAYS: usize = 3;
const GRACE: Duration = Duration::from_secs(30);

/// Datagrams may be lost at a move, as on any network; not more than so many of a thousand.
const LOSS_PER_MILLE: u64 = 10;

fn figure(what: &str, value: String) {
    figures::record("forwards", what, value);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_carries_rsync_like_tcp_and_wireguard_like_udp() {
    let mut fleet = Fleet::start(RELAYS).await;
    let place = Place::new(&fleet);
    let files = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tunnel = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let expose = format!(
        "profile: profile.json\nexpose:\n  - {{name: files, tcp: '{}'}}\n  - {{name: tunnel, udp: '{}'}}\n",
        files.local_addr().unwrap(),
        tunnel.local_addr().unwrap()
    );
    std::fs::write(place.path("expose.yaml"), expose).unwrap();
    let mut exposing = place.start(&["run", &place.path("expose.yaml").to_string_lossy()]).await;
    let (files_target, tunnel_target) = (exposing.line().await, exposing.line().await);
    let mut tcp = place.start(&["forward", "127.0.0.1:0", &files_target]).await;
    let mut udp = place.start(&["forward", "--udp", "127.0.0.1:0", &tunnel_target]).await;
    let (tcp_local, udp_local) = (tcp.line().await, udp.line().await);

    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(rsync::serve(files));
    let fetching = tokio::spawn({
        let stopped = stopped.clone();
        async move { rsync::fetch(&tcp_local, stopped).await }
    });
    let passive = tokio::spawn(wireguard::talk(tunnel, None, stopped.clone()));
    let active = tokio::spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        wireguard::talk(socket, Some(&udp_local), stopped).await
    });

    // Every relay is replaced, and in between every client's address changes.
    let mut drained = Drained::default();
    for _ in 0..RELAYS {
        drained += fleet.replace_oldest(GRACE).await;
        fleet.rebind_clients();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let processes: [&Baton; 3] = [&exposing, &tcp, &udp];
    let mut totals = [0_u64; 3];
    for process in processes {
        let status = place.status(process).await;
        for (total, what) in totals.iter_mut().zip(["handovers", "migrations", "resumes"]) {
            *total += status[what].as_u64().unwrap();
        }
    }
    let [handovers, migrations, resumes] = totals;
    stop.send_replace(true);
    let (fetched, bytes) = fetching.await.unwrap();
    serving.await.unwrap();
    let [active, passive] = [active.await.unwrap(), passive.await.unwrap()];

    figure("relays replaced, sessions moved", format!("{RELAYS}, {}", drained.moved));
    figure("handovers, migrations, resumes", format!("{handovers}, {migrations}, {resumes}"));
    figure("rsync-like: files, bytes, all of them right", format!("{fetched}, {bytes}"));
    for (name, from, to) in [("there", &active, &passive), ("back", &passive, &active)] {
        let (sent, came) = (from.sent, to.came);
        figure(
            &format!("WireGuard-like, {name}"),
            format!("{came} of {sent}, {} twice, longest gap {:?}", to.repeated, to.longest_gap),
        );
        assert!(sent > 1000, "{from:?}");
        assert!((sent - came) * 1000 <= sent * LOSS_PER_MILLE, "{came} of {sent} packets came");
        assert_eq!(to.repeated, 0);
    }
    // What was to be survived has happened, to each of them.
    assert!(fetched > 50, "{fetched}");
    assert!(handovers >= 3, "{handovers} handovers");
    assert!(migrations >= 3, "{migrations} migrations");
    assert_eq!((drained.forced, drained.silent, resumes), (0, 0, 0));
    fleet.stop().await;
}
