//! A client whose address changes on its way to the same relay.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use baton_protocol::class::FailureClass;
use baton_protocol::datagram::{self, Datagram, PADDED};
use baton_protocol::frame::{CAPABILITY_PATHS, Frame, Intent, RouteId};
use baton_protocol::id::PeerId;
use baton_protocol::path::probe::{LENGTH, probe, read_reply};
use baton_protocol::path::report::PathReport;
use baton_relay::Relay;
use bytes::Bytes;

use crate::peer::{Peer, Who};
use crate::pool;

pub(crate) fn series(kind: &str, failed: Option<&str>) -> String {
    let result = if failed.is_some() { "failed" } else { "ok" };
    let class = failed.unwrap_or("none");
    format!(r#"baton_relay_migrations_total{{class="{class}",kind="{kind}",result="{result}"}}"#)
}

pub(crate) fn count(relay: &Relay, series: &str) -> u64 {
    let metrics = relay.metrics();
    let line = metrics.lines().find(|line| line.starts_with(series)).expect(series);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn probes(relay: &Relay) -> [u64; 3] {
    ["answered", "unknown", "limited"]
        .map(|result| count(relay, &format!(r#"baton_relay_probes_total{{result="{result}"}}"#)))
}

/// Of all migrations, those that ended.
pub(crate) fn ended(relay: &Relay) -> u64 {
    let migrations = relay.status().migrations;
    migrations.ok + migrations.failed.values().sum::<u64>()
}

pub(crate) fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Attaches a client that knows of paths. Gives its probe ids, too.
pub(crate) async fn attach(relay: &Relay) -> (Peer, Vec<RouteId>) {
    let who = Who::new(1);
    let mut hello = who.hello(Intent::Fresh, Bytes::new(), Bytes::new());
    hello.capabilities = CAPABILITY_PATHS;
    let (mut peer, _) = Peer::attach_with(relay, &who, hello).await;
    assert_eq!(peer.next().await, Frame::Capabilities { known: CAPABILITY_PATHS });
    let ids = ids(&mut peer).await;
    (peer, ids)
}

pub(crate) async fn ids(peer: &mut Peer) -> Vec<RouteId> {
    let Frame::Probes { ids } = peer.next().await else { panic!("no PROBES") };
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 16, "all are different");
    ids
}

/// Sends a probe from this socket, and gives the reply.
async fn ask(relay: &Relay, from: &UdpSocket, id: &RouteId) -> Vec<u8> {
    from.send_to(&probe(id), relay.address()).unwrap();
    let from = from.try_clone().unwrap();
    let reply = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 2048];
        let (length, _) = from.recv_from(&mut buffer).expect("a reply");
        buffer[..length].to_vec()
    });
    reply.await.unwrap()
}

pub(crate) async fn report(peer: &mut Peer, attempt: u64, failed: Option<FailureClass>) {
    let took = Duration::from_millis(5);
    peer.say(Frame::PathReport(PathReport { attempt, failed, took })).await;
}

pub(crate) fn confirm(peer: &Peer, attempt: u64, nonce: [u8; 8]) {
    peer.connection.send_datagram(datagram::path_confirm(attempt, nonce, PADDED)).unwrap();
}

/// Answers each ECHO as a client does, with the latest nonce, until the attempt is confirmed.
pub(crate) async fn confirmed(peer: &Peer, attempt: u64) {
    loop {
        match peer.datagram().await {
            Datagram::Echo { nonce } => confirm(peer, attempt, nonce),
            // To what was said once more of the one before.
            Datagram::PathConfirmed { attempt: confirmed } if confirmed < attempt => {}
            other => return assert_eq!(other, Datagram::PathConfirmed { attempt }),
        }
    }
}

#[tokio::test]
async fn a_migration_counts_only_after_an_echo_over_the_new_path() {
    let relay = pool::one().await;
    let (mut peer, _) = Peer::attach(&relay, &Who::new(1)).await;
    let id = peer.connection.stable_id();
    let ok = series("rebind", None);
    for round in 0..3 {
        peer.endpoint.rebind(socket()).unwrap();
        let Datagram::Echo { nonce } = peer.datagram().await else { panic!("no ECHO") };
        assert_eq!(count(&relay, &ok), round, "not before it is answered");
        peer.connection.send_datagram(datagram::echo_reply(nonce, PADDED)).unwrap();
        pool::until("it is counted", || count(&relay, &ok) == round + 1).await;
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
    peer.endpoint.rebind(socket()).unwrap();
    assert!(matches!(peer.datagram().await, Datagram::Echo { .. }));
    assert!(matches!(peer.datagram().await, Datagram::Echo { .. }), "it is asked again");
    peer.connection.close(0_u32.into(), b"");
    pool::until("it is counted", || ended(&relay) == 1).await;
    assert_eq!(relay.status().migrations.failed["application_close_remote"], 1);
    // Once: what comes later is counted later.
    let (mut peer, _) = Peer::attach(&relay, &Who::new(2)).await;
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    assert_eq!(ended(&relay), 1);
    relay.stop().await;
}

#[tokio::test]
async fn a_probe_is_answered_once_from_where_it_came_in_and_touches_nothing() {
    let relay = pool::one().await;
    let (mut peer, ids) = attach(&relay).await;
    let other = socket();
    let reply = ask(&relay, &other, &ids[0]).await;
    assert_eq!(reply.len(), LENGTH);
    let (id, said) = read_reply(&reply).unwrap();
    assert_eq!((id, said.ingress), (ids[0], relay.id()));
    assert_eq!(said.observed, other.local_addr().unwrap());
    assert_eq!(probes(&relay), [1, 0, 0]);

    other.send_to(&probe(&ids[0]), relay.address()).unwrap();
    pool::until("a second one is noticed", || probes(&relay) == [1, 1, 0]).await;
    // What nobody was given is no probe, and what QUIC makes of it is QUIC's business.
    let mut made_up = ids[1];
    made_up[16] ^= 1;
    other.send_to(&probe(&made_up), relay.address()).unwrap();
    assert!(read_reply(&ask(&relay, &other, &ids[1]).await).is_some());
    assert_eq!(probes(&relay), [2, 1, 0]);

    // The ids are those of the session, and end with it.
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    assert_eq!(ended(&relay), 0);
    peer.connection.close(0_u32.into(), b"");
    pool::until("it has ended", || relay.status().sessions == 0).await;
    other.send_to(&probe(&ids[2]), relay.address()).unwrap();
    pool::until("nobody is there", || probes(&relay) == [2, 2, 0]).await;
    relay.stop().await;
}

#[tokio::test]
async fn probes_among_other_packets_are_taken_out_and_the_others_are_not() {
    let relay = pool::one().await;
    let (mut peer, ids) = attach(&relay).await;
    // From the client's own address, as close together as a network may bring them.
    let other = socket();
    peer.endpoint.rebind(other.try_clone().unwrap()).unwrap();
    for (number, id) in ids.iter().enumerate() {
        let alias = 16 + number as u64;
        peer.say(Frame::Open { alias, peer: PeerId::from_bytes([9; 32]) }).await;
        other.send_to(&probe(id), relay.address()).unwrap();
        peer.send_datagram(alias, &[0; 1100]);
    }
    for number in 0..ids.len() as u64 {
        assert_eq!(peer.next().await, Frame::Opened { alias: 16 + number });
    }
    pool::until("all are answered", || probes(&relay) == [16, 0, 0]).await;
    relay.stop().await;
}

#[tokio::test]
async fn an_announced_migration_is_valid_by_its_confirmation_and_counts_by_its_report() {
    let relay = pool::one().await;
    let (mut peer, _) = attach(&relay).await;
    let stable_id = peer.connection.stable_id();
    for attempt in 1..=3 {
        peer.endpoint.rebind(socket()).unwrap();
        confirm(&peer, attempt, [0; 8]);
        confirmed(&peer, attempt).await;
        assert_eq!(ended(&relay), attempt - 1, "not before it is reported");
        report(&mut peer, attempt, None).await;
        ids(&mut peer).await;
        assert_eq!(count(&relay, &series("path", None)), attempt);
    }
    assert_eq!(peer.connection.stable_id(), stable_id);
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    assert_eq!(ended(&relay), 3, "each is one, and none of them is a rebinding");
    relay.stop().await;
}

#[tokio::test]
async fn of_a_client_that_announces_and_reports_without_end_few_attempts_are_counted() {
    let relay = pool::one().await;
    let (mut peer, _) = attach(&relay).await;
    for attempt in 1..1000 {
        report(&mut peer, attempt, Some(FailureClass::Other)).await;
    }
    for attempt in 1001..2000 {
        confirm(&peer, attempt, [0; 8]);
    }
    // It is as good a session as any.
    peer.say(Frame::Open { alias: 16, peer: PeerId::from_bytes([9; 32]) }).await;
    while !matches!(peer.next().await, Frame::Opened { .. }) {}
    peer.connection.close(0_u32.into(), b"");
    pool::until("it has ended", || relay.status().sessions == 0).await;
    let counted = ended(&relay);
    assert!((64..200).contains(&counted), "{counted}");
    relay.stop().await;
}
