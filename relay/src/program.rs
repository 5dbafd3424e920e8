//! The relay as a program: follows its files and signals, until it is told to end.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::config::{Flags, Reloader};
use crate::drain::Flag;
use crate::followed::follow;
use crate::relay::Relay;
use crate::seeds::Seeds;
use crate::siblings::Siblings;

/// When something has changed in the directory it is looked at, after so long, whether there are other siblings to be kept for the
/// next process.
const KEEP: Duration = Duration::from_millis(100);

/// A relay that is drained answers so long before it exits, for the last packets of those who have moved.
const LINGER: Duration = Duration::from_secs(2);

/// Runs a relay to its end. `flags` are what this command line, its environment and its file say.
pub async fn run(line: Vec<OsString>, flags: Flags) -> anyhow::Result<()> {
    let reloader = Reloader::new(line, flags.clone());
    let relay = Relay::start(flags.config()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let asked = Notify::new();
    let files = [flags.drain_file.clone(), flags.seeds_file.clone()];
    let (_reader, [mut flag, mut seeds]) = follow(files)?;
    let siblings = Siblings::read(&flags.state).await;
    let known = siblings.clone();
    {
        let mut reloading = std::pin::pin!(reloader.run(&relay, &asked));
        let mut keeping = std::pin::pin!(keep(siblings, &relay));
        loop {
            tokio::select! {
                content = flag.changed() => follow_flag(&relay, &flags.drain_file, &content),
                content = seeds.changed() => {
                    follow_seeds(&relay, &flags.seeds_file, &content, &known);
                }
                never = &mut keeping => match never {},
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

/// Keeps the siblings for the next process, for as long as it is polled.
async fn keep(mut siblings: Siblings, relay: &Relay) -> Infallible {
    // Before it has joined the mesh it knows less than the process before it did.
    relay.ready().await;
    loop {
        let changed = relay.changed();
        siblings.keep(relay.siblings()).await;
        changed.await;
        tokio::time::sleep(KEEP).await;
    }
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

fn follow_flag(relay: &Relay, path: &Path, content: &str) {
    match Flag::parse(content) {
        Ok(flag) => {
            relay.set_flag_error(None);
            relay.set_flag(flag);
        }
        Err(error) => {
            error!(path = %path.display(), %error, "the last good flag stays");
            relay.set_flag_error(Some(error.to_string()));
        }
    }
}

fn follow_seeds(relay: &Relay, path: &Path, content: &str, siblings: &Siblings) {
    match Seeds::parse(content) {
        Ok(Some(seeds)) => relay.set_seeds(siblings.or(seeds)),
        Ok(None) => {}
        Err(error) => error!(path = %path.display(), %error, "no seeds"),
    }
}
