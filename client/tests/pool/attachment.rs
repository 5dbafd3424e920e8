//! Who is let in, and who is thrown out.

use std::time::Duration;

use baton_client::token::{Grant, issue, now_unix};
use baton_client::{
    Client, ClientConfig, ConnectError, Ended, Event, Identity, Profile, RefusalCode,
};

use crate::fleet::{Fleet, SECRET};

async fn refused(fleet: &Fleet, token: &str) -> RefusalCode {
    let profile =
        Profile::from_json(fleet.profile_json(&fleet.addresses(), token).as_bytes()).unwrap();
    let error =
        Client::connect(ClientConfig::new(Identity::ephemeral(), profile)).await.unwrap_err();
    let ConnectError::Refused(refused) = &error else { panic!("{error}") };
    assert!(error.to_string().contains(&refused.message), "{error}");
    refused.code
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_a_typed_error() {
    let fleet = Fleet::start(1).await;
    let grant = |pool: &str| Grant {
        pool: pool.into(),
        peer: None,
        group: None,
        lifetime: Duration::from_secs(60),
    };
    let now = now_unix();
    let other_secret = issue(&grant("tests/edge"), &[b'x'; 32], now).unwrap();
    let other_pool = issue(&grant("tests/other"), SECRET, now).unwrap();
    let expired = issue(&grant("tests/edge"), SECRET, now - 3600).unwrap();
    let stranger = Some(Identity::from_seed([9; 32]).peer());
    let other_peer = issue(&Grant { peer: stranger, ..grant("tests/edge") }, SECRET, now).unwrap();
    assert_eq!(refused(&fleet, "").await, RefusalCode::TokenRequired);
    assert_eq!(refused(&fleet, "nonsense").await, RefusalCode::TokenInvalid);
    assert_eq!(refused(&fleet, &other_secret).await, RefusalCode::TokenInvalid);
    assert_eq!(refused(&fleet, &other_pool).await, RefusalCode::TokenInvalid);
    assert_eq!(refused(&fleet, &other_peer).await, RefusalCode::TokenInvalid);
    assert_eq!(refused(&fleet, &expired).await, RefusalCode::TokenExpired);
    fleet.stop().await;
}

#[tokio::test]
async fn superseded_is_terminal() {
    let fleet = Fleet::start(2).await;
    let first = fleet.client(1, &[0, 1]).await;
    let mut events = first.events();
    let second = fleet.client(1, &[1, 0]).await;
    let ended = async {
        loop {
            if let Event::Ended(why) = events.next().await.unwrap() {
                return why;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
    assert_eq!(ended, Ended::Superseded);
    // It does not come back, and the winner is left alone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first.status().ended, Some(Ended::Superseded));
    assert_eq!(first.status().relay, None);
    let status = second.status();
    assert_eq!((status.ended, status.resumes, status.relay), (None, 0, Some(fleet.relays[1].id())));
    first.close().await;
    second.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_says_so() {
    let fleet = Fleet::start(1).await;
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = fleet.config_for(1, &[free]).attach_timeout(Some(Duration::from_millis(500)));
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    fleet.stop().await;
}

#[tokio::test]
async fn a_relay_with_another_ca_is_no_relay_of_the_pool() {
    let (fleet, other) = (Fleet::start(1).await, Fleet::start(1).await);
    let config =
        fleet.config_for(1, &other.addresses()).attach_timeout(Some(Duration::from_secs(1)));
    let error = Client::connect(config).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    fleet.stop().await;
    other.stop().await;
}
