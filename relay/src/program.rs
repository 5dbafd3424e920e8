//! The relay as a program: follows its files and signals, until it is told to end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::config::{Flags, Reloader};
use crate::drain::Flag;
use crate::relay::Relay;
use crate::seeds::Seeds;
use crate::siblings::Siblings;

/// How often the files of the pod's annotations are read.
const LOOK: Duration = Duration::from_millis(100);

/// A relay that is drained answers so long before it exits, for the last packets of those who have moved.
const LINGER: Duration = Duration::from_secs(2);

/// How much of a file is read: more than the longest that is good, so that a longer one is told from it.
const MAX_FILE: u64 = 1024 * 1024;

/// Runs a relay to its end. `flags` are what this command line, its environment and its file say.
pub async fn run(line: Vec<OsString>, flags: Flags) -> anyhow::Result<()> {
    let reloader = Reloader::new(line, flags.clone());
    let relay = Relay::start(flags.config()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let asked = Notify::new();
    let mut files = Files::new(&flags).await;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    {
        let mut reloading = std::pin::pin!(reloader.run(&relay, &asked));
        loop {
            tokio::select! {
                _ = look.tick() => files.follow(&relay).await,
                _ = hangup.recv() => asked.notify_one(),
                never = &mut reloading => match never {},
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
    }
    drain(&relay, &flags, &mut interrupt).await;
    leave_message(&flags.termination_log, &relay);
    relay.stop().await;
    Ok(())
}

/// Whatever is left after SIGTERM: the drain, if it is not over, then the linger.
async fn drain(relay: &Relay, flags: &Flags, interrupt: &mut Signal) {
    let grace = flags.drain_grace();
    info!(?grace, "told to end");
    relay.end_within(grace);
    let drained = async {
        // The deadline closes what is left; the margin is for the siblings to hear of it.
        if tokio::time::timeout(grace + Duration::from_secs(1), relay.drained()).await.is_err() {
            warn!("ending before it is drained");
        }
        relay.set_lingering();
        tokio::time::sleep(LINGER.min(Duration::from_secs(flags.linger_seconds))).await;
    };
    tokio::select! {
        () = drained => {}
        _ = interrupt.recv() => warn!("interrupted: ending at once"),
    }
}

fn leave_message(path: &Path, relay: &Relay) {
    let written =
        serde_json::to_vec(&relay.status()).map_err(std::io::Error::from).and_then(|status| {
            // Kubernetes makes the file; elsewhere there is none, and none is wanted.
            std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
            std::fs::write(path, status)
        });
    if let Err(error) = written {
        info!(path = %path.display(), %error, "no termination message");
    }
}

/// The files of the pod's annotations, and what this process leaves to the next.
#[derive(Debug)]
struct Files {
    drain: Followed,
    seeds: Followed,
    siblings: Siblings,
}

#[derive(Debug)]
struct Followed {
    path: PathBuf,
    last: Option<String>,
}

impl Files {
    async fn new(flags: &Flags) -> Self {
        let followed = |path: &Path| Followed { path: path.into(), last: None };
        Self {
            drain: followed(&flags.drain_file),
            seeds: followed(&flags.seeds_file),
            siblings: Siblings::read(&flags.state).await,
        }
    }

    async fn follow(&mut self, relay: &Relay) {
        if let Some(content) = self.drain.changed().await {
            match Flag::parse(&content) {
                Ok(flag) => {
                    relay.set_flag_error(None);
                    relay.set_flag(flag);
                }
                Err(error) => {
                    error!(path = %self.drain.path.display(), %error, "the last good flag stays");
                    relay.set_flag_error(Some(error.to_string()));
                }
            }
        }
        if let Some(content) = self.seeds.changed().await {
            match Seeds::parse(&content) {
                Ok(Some(seeds)) => relay.set_seeds(self.siblings.or(seeds)),
                Ok(None) => {}
                Err(error) => error!(path = %self.seeds.path.display(), %error, "no seeds"),
            }
        }
        // Before it has joined the mesh it knows less than the process before it did.
        if relay.is_ready() {
            self.siblings.keep(relay.siblings()).await;
        }
    }
}

impl Followed {
    /// The file's content, if it is not what it was. A file that cannot be read is as it was: kubelet swaps it by links, and
    /// there is a moment between.
    async fn changed(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(&self.path).await.ok()?;
        file.take(MAX_FILE).read_to_end(&mut bytes).await.ok()?;
        let content = String::from_utf8_lossy(&bytes).into_owned();
        if self.last.as_ref() == Some(&content) {
            return None;
        }
        self.last = Some(content.clone());
        Some(content)
    }
}
