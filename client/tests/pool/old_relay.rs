//! A relay of a version that knows no policies: its client's owner hears of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_client::{Client, Event, Policy, PolicyError, PolicyMode, RelayId, RuleVerb};
use baton_protocol::ALPN;
use baton_protocol::frame::{CAPABILITY_STREAMS, Decoder, Frame, Welcome};
use baton_protocol::id::{SessionId, Stamp};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig};

use crate::fleet::Fleet;

const RELAY: RelayId = RelayId::from_u32(7);

/// A relay that lets anyone in and does nothing for them. It says that it knows this.
fn old_relay(fleet: &Fleet, knows: Option<u64>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let (certificate, key) = fleet.tls();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).unwrap();
    let config = ServerConfig::with_crypto(Arc::new(tls));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            tokio::spawn(async move { serve(connection, knows).await });
        }
    });
    (address, serving)
}

async fn serve(connection: Connection, knows: Option<u64>) {
    let (mut send, mut receive) = connection.accept_bi().await.unwrap();
    let mut decoder = Decoder::new();
    loop {
        match decoder.next_frame().unwrap() {
            Some(Frame::Hello(_)) => break,
            Some(other) => panic!("{} before HELLO", other.name()),
            None => decoder.push(&receive.read_chunk(4096, true).await.unwrap().unwrap().bytes),
        }
    }
    let welcome = Welcome {
        session: SessionId::from_u64(1),
        relay: RELAY,
        epoch: 1,
        stamp: Stamp::from_u64(1),
        observed: connection.remote_address(),
        max_datagram: 1200,
        max_routes: 16,
        max_watches: 16,
        idle: Duration::from_secs(60),
        keep_alive: Duration::from_secs(12),
        ticket: b"ticket".as_slice().into(),
        route_ids: Vec::new(),
    };
    send.write_all(&Frame::Welcome(Box::new(welcome)).encode()).await.unwrap();
    if let Some(known) = knows {
        send.write_all(&Frame::Capabilities { known }.encode()).await.unwrap();
    }
    // What it does not know it skips.
    while let Ok(Some(_)) = receive.read_chunk(4096, true).await {}
}

#[tokio::test]
async fn a_relay_that_keeps_no_policy_is_told_of_and_nobody_is_made_to_believe_anything_else() {
    let fleet = Fleet::start(0).await;
    for knows in [Some(CAPABILITY_STREAMS), None] {
        let (address, serving) = old_relay(&fleet, knows);
        let mut policy = Policy::new();
        let nuisance = baton_client::Identity::from_seed([9; 32]).peer();
        policy.rule(RuleVerb::Block, &[nuisance]).unwrap();
        let config = fleet.config_for(1, &[address]).policy(policy);
        let client = Client::connect(config).await.unwrap();
        let (mut events, began) = (client.events(), Instant::now());
        // One that says what it knows may have said so before anyone listened.
        let mut not_kept = knows.is_some();
        while !not_kept {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
            not_kept = event.unwrap() == Some(Event::PolicyNotKept { relay: Some(RELAY) });
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(client.block(nuisance).await, Err(PolicyError::NotKept));
        assert_eq!(client.set_policy(PolicyMode::Any).await, Err(PolicyError::NotKept));
        assert_eq!(client.policy().mode(), PolicyMode::Any, "the next relay is told");
        client.close().await;
        assert_eq!(client.block(nuisance).await, Err(PolicyError::Closed));
        serving.abort();
    }
    // One that never had a policy has nothing to be told of, until it has one.
    let (address, serving) = old_relay(&fleet, Some(CAPABILITY_STREAMS));
    let client = Client::connect(fleet.config_for(1, &[address])).await.unwrap();
    let mut events = client.events();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changed = client.set_policy(PolicyMode::List).await;
    assert_eq!(changed, Err(PolicyError::NotKept));
    let told = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
    assert_eq!(told, Some(Event::PolicyNotKept { relay: Some(RELAY) }), "and nothing before it");
    client.close().await;
    serving.abort();
    fleet.stop().await;
}
