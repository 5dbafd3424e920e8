//! HELLOs of others, and tokens of others.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::field::Field;
use crate::peer::{Peer, Turned};

/// Attempts under way at a time.
const AT_ONCE: usize = 16;

/// Before one that was turned away tries again.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn replayed(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let hello = data_encoding::HEXLOWER.decode(field.told().overheard.as_bytes());
    let hello = hello.context("what was overheard")?;
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (field, counts, endpoint) = (field.clone(), counts.clone(), field.endpoint()?);
        let hello = hello.clone();
        tasks.spawn(async move {
            loop {
                let answer = async {
                    let mut peer = Peer::connect(&field, &endpoint).await?;
                    peer.write(&hello).await?;
                    peer.answer().await
                };
                came_of_it(&counts, "", answer.await).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

pub(super) async fn tokens(field: &Field, counts: &Counts) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE {
        let (field, counts, endpoint) = (field.clone(), counts.clone(), field.endpoint()?);
        tasks.spawn(async move {
            let tokens: Vec<_> = field.told().tokens.clone().into_iter().collect();
            for (name, token) in tokens.iter().cycle().skip(first) {
                let token = token.clone().into();
                let attached = Peer::attach(&field, &endpoint, &field.key(), token).await;
                came_of_it(&counts, name, attached.map(drop)).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn came_of_it(counts: &Counts, what: &str, answer: Result<(), Turned>) {
    let answer = answer.map_or_else(|turned| turned.name(), |()| "let in".to_owned());
    counts.one(format!("{what} {answer}").trim());
    if !answer.starts_with("refused") {
        tokio::time::sleep(PAUSE).await;
    }
}
