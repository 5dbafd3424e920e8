//! No secret and no token is in a log.
//!
//! This is a process of its own: what a thread is to log is asked once for each place in the code, and threads of other tests that
//! come there at that moment answer, too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "pool/fleet.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod fleet;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_client::Client;
use tracing_subscriber::fmt::MakeWriter;

use crate::fleet::{Fleet, SECRET, token_for};

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

/// Both ends log all that they can, QUIC included.
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
        .map(|(group, seconds)| token_for(group, Duration::from_secs(seconds)));
    let [first, refused, second] = tokens.clone();
    let config = fleet.config_with(1, &fleet.addresses(), &first);
    let client = Client::connect(config).await.unwrap();
    client.renew(refused).await.unwrap_err();
    // A session may ask again after a second, and nothing shows when that is over.
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
