//! Access tokens that end, and newer ones.

use std::path::Path;
use std::time::Duration;

use baton_client::profile::TokenSource;
use baton_client::token::{Grant, issue, now_unix};
use baton_client::{
    Client, ClientConfig, Closed, Event, Identity, Profile, RefusalCode, RenewError,
};
use baton_protocol::close::CloseCode;
use baton_protocol::token::LEEWAY_SECONDS;

use crate::fleet::{Fleet, POOL, SECRET, until};

/// A token with which a session ends then.
fn token_until(ends: u64, group: &str) -> String {
    let group = Some(group.into());
    let grant = Grant { pool: POOL.into(), peer: None, group, lifetime: Duration::ZERO };
    issue(&grant, SECRET, ends - LEEWAY_SECONDS).unwrap()
}

async fn connect(fleet: &Fleet, token: TokenSource) -> Client {
    let json = fleet.profile_json(&fleet.addresses(), "");
    let mut profile = Profile::from_json(json.as_bytes()).unwrap();
    profile.token = token;
    Client::connect(ClientConfig::new(Identity::from_seed([1; 32]), profile)).await.unwrap()
}

fn write_token(path: &Path, token: &str) {
    std::fs::write(path.with_extension("new"), token).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

#[tokio::test]
async fn a_file_with_a_newer_token_keeps_the_session_beyond_the_end_of_the_first() {
    let fleet = Fleet::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let ends = now_unix() + 4;
    write_token(&path, &token_until(ends, "team"));
    let client = connect(&fleet, TokenSource::File(path.clone())).await;
    let mut events = client.events();
    write_token(&path, &token_until(ends + 600, "team"));
    until("the session is renewed", || {
        fleet.relays[0].metrics().contains("baton_relay_renewals_total{result=\"ok\"} 1\n")
    })
    .await;
    until("the first token has ended", || now_unix() > ends + 1).await;
    let quiet = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
    assert!(quiet.is_err(), "nothing happened, but {quiet:?}");
    assert_eq!(fleet.relays[0].status().sessions, 1);
    client.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_renewed_ends_the_session_and_the_next_one_is_read_then() {
    let fleet = Fleet::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let ends = now_unix() + 3;
    write_token(&path, &token_until(ends, "team"));
    let client = connect(&fleet, TokenSource::File(path.clone())).await;
    let mut events = client.events();
    // For another group: no renewal, but good for a session of its own.
    write_token(&path, &token_until(ends + 600, "other"));
    let lost = Closed::ByRelay(CloseCode::TokenExpired);
    let mut seen = Vec::new();
    while !seen.iter().any(|event| matches!(event, Event::Resumed { .. })) {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        seen.push(event.expect("an event in time").expect("an open client"));
    }
    assert!(seen.contains(&Event::Lost { how: lost }), "{seen:?}");
    assert!(fleet.relays[0].metrics().contains("baton_relay_renewals_total{result=\"ok\"} 0\n"));
    client.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn the_owner_renews_by_hand_and_is_told_why_not() {
    let fleet = Fleet::start(1).await;
    let client =
        connect(&fleet, TokenSource::Fixed(token_until(now_unix() + 600, "team").into())).await;
    let refused = client.renew(token_until(now_unix() + 900, "other")).await.unwrap_err();
    assert!(
        matches!(&refused, RenewError::Refused(refused) if refused.code == RefusalCode::TokenInvalid),
        "{refused}"
    );
    let refused = client.renew("nonsense").await.unwrap_err();
    assert!(
        matches!(&refused, RenewError::Refused(refused) if refused.code == RefusalCode::TooSoon),
        "{refused}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.renew(token_until(now_unix() + 900, "team")).await, Ok(()));
    assert_eq!(fleet.relays[0].status().sessions, 1);
    client.close().await;
    assert_eq!(client.renew("late").await, Err(RenewError::Closed));
    fleet.stop().await;
}
