//! `baton send`: a file to another peer.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_client::{PeerId, files};
use clap::Args;
use serde_json::json;

use super::control::Control;
use super::progress::bar;
use super::time::time;
use super::{Failure, Pool, close, policy, until_told};

#[derive(Args)]
pub(crate) struct Send {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The peer that runs `baton receive`, which prints its id
    #[arg(value_name = "PEER")]
    peer: PeerId,
    /// Give up when nothing goes on for so long
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = time)]
    patience: Duration,
    /// Say at the end what was sent, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pool: Pool,
}

impl Send {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        files::check(&self.file).await?;
        let client = self.pool.reach().connect(policy::of(&[], [self.peer])).await?;
        let _control = Control::start(&client, "send");
        let began = Instant::now();
        let bar = bar(self.file.display().to_string());
        let progress = |done, size| {
            bar.set_length(size);
            bar.set_position(done);
        };
        let sent = tokio::select! {
            sent = files::send(&client, &self.file, self.peer, self.patience, progress) => {
                sent.map_err(Failure::from)
            }
            told = until_told(&client) => told.and(Err(Failure::Interrupted)),
        };
        bar.finish_and_clear();
        close(&client).await;
        let sent = sent?;
        let seconds = began.elapsed().as_secs_f64();
        let mut out = std::io::stdout();
        if self.json {
            let said = json!({
                "file": self.file, "peer": self.peer.to_string(), "bytes": sent.bytes,
                "resumedAt": sent.resumed_at, "seconds": seconds, "sha256": sent.sha256,
            });
            writeln!(out, "{said}")?;
        } else {
            writeln!(out, "{}: {} bytes in {seconds:.1} s", self.file.display(), sent.bytes)?;
        }
        Ok(())
    }
}
