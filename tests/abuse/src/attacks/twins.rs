//! Two processes with one key.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use baton_client::{Client, ClientConfig, Ended, Event, Identity, Profile};
use serde_json::json;
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::field::Field;
use crate::peer::Peer;

/// Keys that two clients have.
const PAIRS: usize = 20;

/// How long it is looked at what becomes of them: longer than any pause of a client.
const LOOK: Duration = Duration::from_secs(8);

/// Clients that do not do as they should, and attach again and again with one key between them.
const FIGHTERS: usize = 2;

pub(super) async fn twins(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let told = field.told();
    let profile = json!({
        "addresses": [told.relay.to_string()],
        "serverName": told.server_name,
        "audience": told.pool,
        "ca": told.ca,
        "token": told.tokens.get("good").context("no token 'good' was given")?,
    });
    let profile = Profile::from_json(profile.to_string().as_bytes())?;
    let mut tasks = JoinSet::new();
    for _ in 0..PAIRS {
        tasks.spawn(pair(profile.clone(), field.random(), counts.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let seed: [u8; 32] = field.random();
    for _ in 0..FIGHTERS {
        tasks.spawn(fight(field.clone(), counts.clone(), seed));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One client, and then another with its key.
async fn pair(profile: Profile, seed: [u8; 32], counts: Counts) -> anyhow::Result<()> {
    let config = || ClientConfig::new(Identity::from_seed(seed), profile.clone());
    let older = Client::connect(config()).await?;
    let mut of_older = older.events();
    let newer = Client::connect(config()).await?;
    let mut of_newer = newer.events();
    counts.one("pairs");
    let until = tokio::time::Instant::from_std(Instant::now() + LOOK);
    let look = async {
        loop {
            tokio::select! {
                Some(event) = of_older.next() => note(&counts, "older", &event),
                Some(event) = of_newer.next() => note(&counts, "newer", &event),
                else => return,
            }
        }
    };
    let _ = tokio::time::timeout_at(until, look).await;
    counts.one("looked at");
    newer.close().await;
    older.close().await;
    Ok(())
}

fn note(counts: &Counts, who: &str, event: &Event) {
    let what = match event {
        Event::Ended(Ended::Superseded) => "superseded",
        Event::Ended(_) => "ended",
        Event::Attached { .. } | Event::Resumed { .. } => "attached",
        Event::Lost { .. } => "lost",
        Event::Failed { .. } => "failed",
        _ => return,
    };
    counts.one(&format!("{who}: {what}"));
}

/// Attaches whenever it is not attached.
async fn fight(field: Field, counts: Counts, seed: [u8; 32]) -> anyhow::Result<()> {
    let (token, endpoint) = (field.token("good")?, field.endpoint()?);
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    loop {
        match Peer::attach(&field, &endpoint, &key, token.clone()).await {
            Ok(peer) => {
                counts.one("fight: attached");
                counts.one(&format!("fight: {}", peer.listen().await.name()));
            }
            Err(turned) => counts.one(&format!("fight: {}", turned.name())),
        }
    }
}
