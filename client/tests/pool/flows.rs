//! Flows of datagrams, and UDP through them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{Allow, Client, Flow, OpenError, Rejection, ServiceName, udp};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(10);

fn service() -> ServiceName {
    "vpn".parse().unwrap()
}

async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Both ends of a flow.
async fn flow(from: &Client, to: &Client) -> (Flow, Flow) {
    to.offer_flow(service(), Allow::Group);
    let name = service();
    let (opened, accepted) = tokio::join!(from.open_flow(to.peer(), &name), async {
        to.accept_flow().await.unwrap().accept().await
    });
    (opened.unwrap(), accepted.unwrap())
}

/// Sends until one arrives: any may be lost.
async fn arrives(from: &mut Flow, to: &mut Flow, payload: &[u8]) {
    let sending = async {
        loop {
            from.send(payload).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let arriving = async { while to.receive().await.expect("the flow lives")[..] != *payload {} };
    tokio::select! {
        () = sending => {}
        arrived = tokio::time::timeout(PATIENCE, arriving) => {
            arrived.unwrap_or_else(|_| panic!("{} bytes do not arrive", payload.len()));
        }
    }
}

#[tokio::test]
async fn datagrams_of_any_length_arrive_whole_in_both_directions() {
    let fleet = Fleet::start(2).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[1]).await);
    fleet.know(2).await;
    let (mut here, mut there) = flow(&a, &b).await;
    // Around what fits a packet, and to the longest that UDP has.
    for length in (0..1100).step_by(367).chain(1100..1200).chain([1420, 9000, 65_507, 65_535]) {
        let payload: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
        arrives(&mut here, &mut there, &payload).await;
        arrives(&mut there, &mut here, &payload).await;
    }
    assert!(here.send(&vec![0; 65_536]).is_err());
    // The end of one end is the end of the other.
    drop(here);
    let ended = async { while there.receive().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_flow_is_refused_with_the_reason_and_streams_are_another_service() {
    let fleet = Fleet::start(1).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    let refused = |error: OpenError| match error {
        OpenError::Rejected(why) => why,
        other => panic!("{other}"),
    };
    b.offer(service(), Allow::Group);
    let why = refused(a.open_flow(b.peer(), &service()).await.unwrap_err());
    assert_eq!(why, Rejection::UnknownService, "streams are offered, datagrams are not");
    b.offer_flow(service(), Allow::Peers([b.peer()].into()));
    let why = refused(a.open_flow(b.peer(), &service()).await.unwrap_err());
    assert_eq!(why, Rejection::NotAllowed);
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn what_a_flow_carries_never_goes_as_a_datagram_that_relays_can_read() {
    let fleet = Fleet::start(1).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    let (mut here, mut there) = flow(&a, &b).await;
    for length in [8, 1420] {
        arrives(&mut here, &mut there, &vec![7; length]).await;
    }
    // What is not a packet of the inner connection comes out there, as the one that is sent now does.
    let mut route = a.route(b.peer()).unwrap();
    route.opened().await;
    route.send(b"for all to read").unwrap();
    let came = tokio::time::timeout(PATIENCE, b.datagram()).await.unwrap();
    assert_eq!(came, (a.peer(), b"for all to read"[..].into()));
    let more = tokio::time::timeout(Duration::from_millis(300), b.datagram()).await;
    assert!(more.is_err(), "{more:?}");
    a.close().await;
    b.close().await;
    fleet.stop().await;
}

/// A UDP service that answers with what came, and the addresses that it came from.
async fn echo(socket: UdpSocket, seen: tokio::sync::mpsc::UnboundedSender<SocketAddr>) {
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let _ = seen.send(from);
        socket.send_to(&buffer[..length], from).await.unwrap();
    }
}

async fn asks(socket: &UdpSocket, to: SocketAddr, words: &[u8]) {
    let mut buffer = vec![0; 65_535];
    let asked = async {
        loop {
            socket.send_to(words, to).await.unwrap();
            let answer = socket.recv_from(&mut buffer);
            let answer = tokio::time::timeout(Duration::from_millis(500), answer).await;
            if let Ok(Ok((length, _))) = answer
                && buffer[..length] == *words
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("an answer");
}

#[tokio::test]
async fn each_source_of_a_udp_forward_has_a_flow_of_its_own_until_it_is_idle() {
    let fleet = Fleet::start(1).await;
    let (a, b) = (fleet.client(1, &[0]).await, fleet.client(2, &[0]).await);
    let (service_socket, to) = socket().await;
    let (seen, mut sources) = tokio::sync::mpsc::unbounded_channel();
    let (outer, local) = socket().await;
    let idle = Duration::from_secs(2);
    b.offer_flow(service(), Allow::Group);
    let mut tasks = JoinSet::new();
    tasks.spawn(echo(service_socket, seen));
    let (one, other, peer) = (a.clone(), b.clone(), b.peer());
    tasks.spawn(async move { udp::forward(&one, outer, peer, &service(), idle).await });
    tasks.spawn(async move { udp::expose(&other, to, idle).await });

    let callers = [socket().await.0, socket().await.0, socket().await.0];
    for round in 0..3_u8 {
        for (number, caller) in callers.iter().enumerate() {
            asks(caller, local, &[round, number as u8, 7]).await;
            asks(caller, local, &vec![round; 1420]).await;
        }
    }
    let drain = |sources: &mut tokio::sync::mpsc::UnboundedReceiver<SocketAddr>| {
        std::iter::from_fn(|| sources.try_recv().ok()).collect::<BTreeSet<_>>()
    };
    let first = drain(&mut sources);
    assert_eq!(first.len(), 3, "the service sees three callers: {first:?}");
    // After the idle time the flows are gone; the next datagram has another.
    tokio::time::sleep(idle * 2).await;
    asks(&callers[0], local, b"again").await;
    let second = drain(&mut sources);
    assert_eq!(second.len(), 1);
    assert!(second.is_disjoint(&first), "{second:?} is one of {first:?}");
    a.close().await;
    b.close().await;
    fleet.stop().await;
}
