//! `baton receive`: files from other peers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use baton_client::files::{Received, Receiver};
use baton_client::{Allow, Client};
use clap::Args;
use indicatif::MultiProgress;
use serde_json::json;

use super::control::Control;
use super::progress::bar;
use super::{Failure, Pool, close, policy, until_told};

const GIB: u64 = 1 << 30;

#[derive(Args)]
pub(crate) struct Receive {
    /// The folder that files are put into
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Who may send: a peer's id, `group`, or `any`, also of other groups; may be given more than once
    #[arg(long, default_value = "group", value_name = "WHO")]
    allow: Vec<Allow>,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
    /// Refuse files that are longer than so many GiB
    #[arg(long, default_value_t = 64, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_size: u64,
    /// End after one file
    #[arg(long)]
    once: bool,
    /// Say what happens as JSON, an object on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pool: Pool,
}

impl Receive {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let folder = self.folder.clone();
        let failed = |source| Failure::Folder { path: folder.clone(), source };
        if !std::fs::metadata(&folder).map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        let client = self.pool.reach().connect(policy::of(&self.allow, [])).await?;
        let _control = Control::start(&client, "receive");
        let ended = tokio::select! {
            ended = self.take(&client) => ended,
            ended = until_told(&client) => ended,
        };
        close(&client).await;
        ended
    }

    async fn take(&self, client: &Client) -> Result<(), Failure> {
        let allow = self.allow.iter().cloned().reduce(Allow::or).unwrap_or_default();
        let max_size = self.max_size * GIB;
        let mut receiver =
            Receiver::start(client, self.folder.clone(), allow, self.overwrite, max_size);
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", json!({"peer": client.peer().to_string()}))?;
        } else {
            writeln!(out, "{}", client.peer())?;
        }
        let (bars, mut drawn) = (MultiProgress::new(), BTreeMap::new());
        while let Some(received) = receiver.next().await {
            if let Received::Going { name, done, size } = received {
                let bar = drawn.entry(name.clone()).or_insert_with(|| bars.add(bar(name)));
                bar.set_length(size);
                bar.set_position(done);
                continue;
            }
            // Those that go on are drawn again with the next of them.
            drawn.clear();
            bars.clear()?;
            let saved = matches!(received, Received::Saved { .. });
            let (text, json) = say(&received);
            writeln!(out, "{}", if self.json { json } else { text })?;
            if saved && self.once {
                break;
            }
        }
        Ok(())
    }
}

/// For people, and for programs.
fn say(received: &Received) -> (String, String) {
    let (text, json) = match received {
        Received::Begun { name, peer, from, size } => (
            format!("{name}: {size} bytes from {peer}, of which {from} are there"),
            json!({"begun": name, "peer": peer.to_string(), "from": from, "size": size}),
        ),
        Received::Saved { path, peer, size, sha256 } => (
            format!("{}: {size} bytes are there", path.display()),
            json!({"saved": path, "peer": peer.to_string(), "size": size, "sha256": sha256}),
        ),
        Received::Failed { peer, why } => {
            (format!("from {peer}: {why}"), json!({"failed": why, "peer": peer.to_string()}))
        }
        // Drawn instead; and what this version cannot say.
        _ => (String::new(), json!({})),
    };
    (text, json.to_string())
}
