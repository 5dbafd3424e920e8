//! Access tokens that end, newer ones, and that nobody reads any of them in a log.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_client::profile::TokenSource;
use baton_client::token::{Grant, issue, now_unix};
use baton_client::{
    Client, ClientConfig, Closed, Event, Identity, Profile, RefusalCode, RenewError,
};
use baton_protocol::close::CloseCode;
use baton_protocol::token::LEEWAY_SECONDS;
use tracing_subscriber::fmt::MakeWriter;

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

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Both ends log all that they can, QUIC included. A test runs on a thread of its own, so it sees no other test's log.
#[tokio::test]
async fn no_log_has_a_secret_or_a_token_in_it_whatever_its_level() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fleet = Fleet::start(1).await;
    let tokens = [("team", 600), ("other", 900), ("team", 900)]
        .map(|(group, ends)| token_until(now_unix() + ends, group));
    let [first, refused, second] = tokens.clone();
    let client = connect(&fleet, TokenSource::Fixed(first.into())).await;
    client.renew(refused).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.renew(second).await.unwrap();
    client.close().await;
    fleet.stop().await;

    let text = log.text();
    for proof in ["TRACE", "attached", "the session was renewed", "the session was not renewed"] {
        assert!(text.contains(proof), "the log has no `{proof}`, so it proves nothing");
    }
    let secret = String::from_utf8(SECRET.to_vec()).unwrap();
    // What is signed is no secret by itself; the signature makes it one.
    let signatures = tokens.iter().map(|token| token.rsplit('.').next().unwrap().to_owned());
    for hidden in signatures.chain([secret]) {
        let at = text.find(&hidden).map(|at| &text[at.saturating_sub(200)..at + 20]);
        assert_eq!(at, None);
        let bytes = format!("{:?}", &hidden.as_bytes()[..16]);
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(!text.contains(bytes), "as numbers");
    }
}
