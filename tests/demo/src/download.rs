//! curl, and how steadily its file grows.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::files::Files;
use crate::machine::{LOCAL, Machine};

/// How often the file is looked at: what no stall can be told below.
const LOOK: Duration = Duration::from_millis(10);

/// A download under way.
#[derive(Debug)]
pub(crate) struct Download {
    curl: Child,
    bytes: Arc<AtomicU64>,
    watch: JoinHandle<Duration>,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// TCP connections that curl needed.
    pub(crate) connections: u64,
    /// The longest time in which the file did not grow.
    pub(crate) longest_stall: Duration,
    /// Whether curl is content.
    pub(crate) succeeded: bool,
}

impl Download {
    pub(crate) fn start(machine: &Machine, files: &Files) -> anyhow::Result<Self> {
        let mut curl = machine.command(PathBuf::from("curl"))?;
        curl.args(["--silent", "--show-error", "--retry", "0", "--no-buffer"]);
        curl.args(["--write-out", "%{num_connects}", "--output"]).arg(files.copy());
        curl.arg(format!("http://{LOCAL}/file"));
        let curl = curl.stdout(Stdio::piped()).spawn().context("curl")?;
        let bytes = Arc::new(AtomicU64::new(0));
        let watch = tokio::spawn(watch(files.copy(), bytes.clone()));
        Ok(Self { curl, bytes, watch })
    }

    /// How many bytes have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    pub(crate) async fn finish(self, size: u64) -> anyhow::Result<Outcome> {
        let output = self.curl.wait_with_output().await?;
        // Looked at once more after curl has written all of it.
        tokio::time::sleep(LOOK * 2).await;
        anyhow::ensure!(self.bytes.load(Ordering::Relaxed) <= size, "more came than was sent");
        self.bytes.store(u64::MAX, Ordering::Relaxed);
        let longest_stall = self.watch.await?;
        let connections =
            String::from_utf8_lossy(&output.stdout).trim().parse().context("what curl says")?;
        Ok(Outcome { connections, longest_stall, succeeded: output.status.success() })
    }
}

/// Watches the file grow, until `bytes` is set to the maximum.
async fn watch(file: PathBuf, bytes: Arc<AtomicU64>) -> Duration {
    let (mut last, mut grown, mut longest) = (0, Instant::now(), Duration::ZERO);
    loop {
        tokio::time::sleep(LOOK).await;
        let length = tokio::fs::metadata(&file).await.map_or(0, |file| file.len());
        if length > last {
            if last > 0 {
                longest = longest.max(grown.elapsed());
            }
            (last, grown) = (length, Instant::now());
        }
        if bytes.swap(length, Ordering::Relaxed) == u64::MAX {
            return longest;
        }
    }
}
