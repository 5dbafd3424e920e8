//! Who is let in, and what the others are told.

use baton_protocol::close::CloseCode;
use baton_protocol::frame::{Frame, Intent, RefusalCode, Refused, Retry};
use baton_protocol::id::PeerId;
use bytes::Bytes;
use serde_json::json;

use crate::peer::{Peer, Who};
use crate::pool;

async fn refused(peer: &mut Peer) -> Refused {
    let Frame::Refused(refused) = peer.next().await else { panic!("not refused") };
    assert_eq!(peer.closed().await, u64::from(CloseCode::Refused.code()));
    refused
}

#[tokio::test]
async fn a_token_is_judged_before_the_signature_and_both_must_be_right() {
    let relay = pool::start("a", pool::tokens());
    let (who, other) = (Who::new(1), Who::new(2));
    let good = pool::token(
        &json!({"aud": pool::POOL, "exp": 4_000_000_000_u64, "sub": who.id().to_string(), "grp": "team"}),
    );

    let hello = who.hello(Intent::Fresh, good.clone(), Bytes::new());
    let (_peer, welcome) = Peer::attach_with(&relay, &who, hello.clone()).await;
    assert_eq!(welcome.relay, relay.id());
    assert!(!welcome.ticket.is_empty());

    let mut stranger = Peer::connect(relay.address()).await.unwrap();
    stranger.hello(&other, hello).await;
    assert_eq!(
        refused(&mut stranger).await.code,
        RefusalCode::BadSignature,
        "someone else's name and token"
    );

    let mut thief = Peer::connect(relay.address()).await.unwrap();
    thief.hello(&other, other.hello(Intent::Fresh, good, Bytes::new())).await;
    assert_eq!(refused(&mut thief).await.code, RefusalCode::TokenInvalid, "someone else's token");

    let mut nobody = Peer::connect(relay.address()).await.unwrap();
    nobody.hello(&who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await;
    assert_eq!(refused(&mut nobody).await.code, RefusalCode::TokenRequired);
    relay.stop().await;
}

#[tokio::test]
async fn a_handover_needs_a_ticket_and_a_full_relay_says_when_to_come_back() {
    let relay = pool::start_with("a", baton_relay::auth::Mode::Open, 1);
    let who = Who::new(1);
    let (_peer, welcome) = Peer::attach(&relay, &who).await;

    let mut forger = Peer::connect(relay.address()).await.unwrap();
    forger
        .hello(&who, who.hello(Intent::Handover, Bytes::new(), Bytes::from_static(b"no ticket")))
        .await;
    let forged = refused(&mut forger).await;
    assert_eq!((forged.code, forged.retry), (RefusalCode::TicketInvalid, Retry::Fresh));

    let mut late = Peer::connect(relay.address()).await.unwrap();
    late.hello(&who, who.hello(Intent::Resume, Bytes::new(), welcome.ticket)).await;
    let full = refused(&mut late).await;
    assert_eq!(full.code, RefusalCode::Full);
    assert!(matches!(full.retry, Retry::After(_)));
    relay.stop().await;
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_nothing_else() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let (mut neighbour, _) = Peer::attach(&relay, &who).await;

    let violation = u64::from(CloseCode::ProtocolViolation.code());
    let cases: [&[u8]; 4] =
        [&Frame::Active.encode(), &[0x3f, 0], &[0x01, 0x80, 1, 0, 0], &[0x01, 2, 0, 0]];
    for bytes in cases {
        let mut peer = Peer::connect(relay.address()).await.unwrap();
        peer.write(bytes).await;
        assert_eq!(peer.closed().await, violation, "{bytes:?}");
    }
    for frame in [
        Frame::MovedOk,
        Frame::Active,
        Frame::GoAwayAck { sequence: 1 },
        Frame::SenderOk { alias: 16 },
    ] {
        let (mut peer, _) = Peer::attach(&relay, &Who::new(2)).await;
        peer.say(frame).await;
        assert_eq!(peer.closed().await, violation);
    }
    neighbour.open(16, PeerId::from_bytes([9; 32])).await;
    relay.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_in_time() {
    let relay = pool::one().await;
    let peer = Peer::connect(relay.address()).await.unwrap();
    let before = std::time::Instant::now();
    // The stream is opened, and one byte of a frame is all that ever comes.
    let mut peer = peer;
    peer.write(&[1]).await;
    assert_eq!(peer.closed().await, u64::from(CloseCode::HelloTimeout.code()));
    assert!(
        before.elapsed() >= baton_protocol::HELLO_TIMEOUT - std::time::Duration::from_millis(100)
    );
    relay.stop().await;
}

#[tokio::test]
async fn another_process_with_the_same_key_supersedes_and_the_same_process_resumes() {
    let relay = pool::one().await;
    let who = Who::new(1);
    let (first, _) = Peer::attach(&relay, &who).await;
    let elsewhere = Who { instance: Who::new(9).instance, ..who.clone() };
    let (second, welcome) = Peer::attach(&relay, &elsewhere).await;
    assert_eq!(first.closed().await, u64::from(CloseCode::Superseded.code()));

    let resume = elsewhere.hello(Intent::Resume, Bytes::new(), welcome.ticket.clone());
    let (_third, resumed) = Peer::attach_with(&relay, &elsewhere, resume).await;
    assert_eq!(second.closed().await, u64::from(CloseCode::Moved.code()));
    assert!(resumed.stamp > welcome.stamp);
    relay.stop().await;
}

#[tokio::test]
async fn a_stranger_has_one_stream_and_little_room_on_it() {
    let relay = pool::one().await;
    let mut stranger = Peer::connect(relay.address()).await.unwrap();
    let soon = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(soon, stranger.connection.open_bi()).await.is_err());
    assert!(tokio::time::timeout(soon, stranger.connection.open_uni()).await.is_err());
    // Half a HELLO, and datagrams that nobody has a route for.
    stranger.write(&[0x01, 0x4f, 0xa0, 0]).await;
    for _ in 0..2000 {
        stranger.connection.send_datagram_wait(vec![16; 1000].into()).await.unwrap();
    }
    let who = Who::new(1);
    let (mut peer, _) = Peer::attach(&relay, &who).await;
    peer.open(16, PeerId::from_bytes([9; 32])).await;
    relay.stop().await;
}
