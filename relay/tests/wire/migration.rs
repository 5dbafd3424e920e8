//! A client whose address changes on its way to the same relay.

use std::time::Duration;

use baton_protocol::datagram::{self, Datagram};
use baton_protocol::id::PeerId;

use crate::peer::{Peer, Who};
use crate::pool;

const OK: &str = r#"baton_relay_migrations_total{class="none",kind="rebind",result="ok"}"#;

fn count(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(series)).expect(series);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_migration_counts_only_after_an_echo_over_the_new_path() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    let id = peer.connection.stable_id();
    for round in 0..3 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.endpoint.rebind(socket).unwrap();
        let Datagram::Echo { nonce } = peer.datagram().await else { panic!("no ECHO") };
        assert_eq!(count(&relay.metrics(), OK), round, "not before it is answered");
        let room = peer.connection.max_datagram_size().unwrap();
        assert!(room >= 1200, "{room}");
        peer.connection.send_datagram(datagram::echo_reply(nonce, room)).unwrap();
        pool::until("it is counted", || count(&relay.metrics(), OK) == round + 1).await;
    }
    assert_eq!(peer.connection.stable_id(), id);
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    let migrations = relay.status().migrations;
    assert_eq!((migrations.ok, migrations.failed.values().sum::<u64>()), (3, 0));
    relay.stop().await;
}

#[tokio::test]
async fn an_attempt_that_is_never_answered_fails_with_its_session() {
    let relay = pool::one().await;
    let (peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    peer.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    assert!(matches!(peer.datagram().await, Datagram::Echo { .. }));
    assert!(matches!(peer.datagram().await, Datagram::Echo { .. }), "it is asked again");
    peer.connection.close(0_u32.into(), b"");
    pool::until("it is counted", || {
        relay.status().migrations.failed["application_close_remote"] == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(relay.status().migrations.failed.values().sum::<u64>(), 1, "once");
    relay.stop().await;
}
