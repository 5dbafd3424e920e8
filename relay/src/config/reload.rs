//! Reads the configuration again when its files change, and has the relay go on with it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::time::Instant;

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::watch::{Fingerprint, Watch};
use super::{ConfigErrors, Flags, FlagsError};
use crate::relay::{Relay, Reload};

/// See the [module](self).
#[derive(Debug)]
pub struct Reloader {
    line: Vec<OsString>,
    /// As they are in use.
    flags: Flags,
    watch: Watch,
}

/// What the files say now.
#[derive(Debug)]
struct Read {
    flags: Flags,
    rules: Reload,
}

/// One look at the files.
#[derive(Debug)]
struct Seen {
    before: Fingerprint,
    after: Fingerprint,
    read: Result<Box<Read>, ConfigErrors>,
}

impl Reloader {
    /// For a relay that begins with `flags`, which come of this command line. Must be made before the files are read for it.
    #[must_use]
    pub fn new(line: Vec<OsString>, flags: Flags) -> Self {
        let read = Fingerprint::of(&flags.files());
        Self { line, flags, watch: Watch::new(read, Instant::now()) }
    }

    /// Follows the files for as long as it is polled. `asked` has them read at once.
    pub async fn run(mut self, relay: &Relay, asked: &Notify) -> Infallible {
        loop {
            let asked = tokio::select! {
                () = asked.notified() => true,
                () = tokio::time::sleep_until(self.watch.poll_timeout().into()) => false,
            };
            self.look(relay, asked).await;
        }
    }

    async fn look(&mut self, relay: &Relay, asked: bool) {
        let files = self.flags.files();
        let fingerprint = move || Fingerprint::of(&files);
        // A folder may be on a file system that takes its time. It is waited for here, and nothing else waits.
        let Ok(seen) = tokio::task::spawn_blocking(fingerprint).await else { return };
        if !self.watch.looked(seen, asked, Instant::now()) {
            return;
        }
        let (line, flags) = (self.line.clone(), self.flags.clone());
        let Ok(seen) = tokio::task::spawn_blocking(move || read(&line, &flags)).await else {
            return;
        };
        if !self.watch.has_read(seen.before, seen.after) {
            return;
        }
        let done = match seen.read {
            Ok(read) => {
                let Read { flags, rules } = *read;
                relay.reload(rules).await.map(|()| self.flags = flags).map_err(|e| e.to_string())
            }
            Err(errors) => Err(errors.to_string()),
        };
        relay.count_reload(done.is_ok());
        match done {
            Ok(()) => {
                info!(max_sessions = self.flags.max_sessions, "the configuration was read again")
            }
            Err(error) => error!(%error, "the configuration that was read before still holds"),
        }
    }
}

fn read(line: &[OsString], current: &Flags) -> Seen {
    let files = current.files();
    let before = Fingerprint::of(&files);
    let read = Flags::load(line).map_err(|error| match error {
        FlagsError::File(errors) => errors,
        FlagsError::Usage(error) => {
            let error = error.to_string();
            ConfigErrors(error.lines().take(1).map(ToOwned::to_owned).collect())
        }
    });
    let read = read.and_then(|new| {
        let flags = current.with_changes_of(&new);
        let rules = flags.rules()?;
        Ok(Box::new(Read { flags, rules }))
    });
    Seen { before, after: Fingerprint::of(&files), read }
}

impl Flags {
    /// These, with what may change while a relay runs as it is in `new`.
    fn with_changes_of(&self, new: &Self) -> Self {
        let changed = Self {
            max_sessions: new.max_sessions,
            rates: new.rates,
            policy_epoch: new.policy_epoch,
            pool_keys: new.pool_keys.clone(),
            auth_keys: new.auth_keys.clone(),
            allowlist: new.allowlist.clone(),
            tls: new.tls.clone(),
            ..self.clone()
        };
        if changed != *new {
            warn!(
                "the configuration file changes more than --max-sessions, --policy-epoch, the rates and the places of keys, lists and certificates: the rest holds from the next start on"
            );
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_rates_are_among_what_may_change() {
        let flags = |more: &[&str]| {
            let line = [&["baton-relay", "--pool=ns/edge", "--name=a"], more].concat();
            Flags::parse_from(line)
        };
        let new = flags(&["--limit-pair-bytes=5000", "--listen=127.0.0.1:1"]);
        let before = flags(&[]);
        let changed = before.with_changes_of(&new);
        assert_eq!((changed.rates, changed.listen), (new.rates, before.listen));
    }
}
