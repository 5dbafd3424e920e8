//! The attacker's process, and what it says that it has done and seen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_tests::until::until;
use serde_json::{Value, json};

use crate::ground::{Ground, token};
use crate::pool::{self, POOL, SERVER_NAME};

/// An attack that has not begun by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was counted, by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// See the [module](self).
pub(crate) struct Attacker {
    attack: String,
    process: Child,
    input: Option<ChildStdin>,
    counts: Arc<Mutex<Counts>>,
    reader: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Begins. `more` is what it is told beyond where the relay is, and a token of the group `attackers`.
    pub(crate) fn begin(ground: &Ground, attack: &str, more: &Value) -> Self {
        let mut told = json!({
            "relay": ground.address(),
            "server_name": SERVER_NAME,
            "pool": POOL,
            "ca": pool::made().cert.pem(),
            "tokens": {"good": token("attackers")},
        });
        for (name, value) in more.as_object().expect("an object") {
            told[name] = value.clone();
        }
        let mut command = ground.attacker.command(&ground.programs.attacker, [attack]);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut input = process.stdin.take().unwrap();
        writeln!(input, "{told}").expect("the attacker listens");
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let (latest, output) = (counts.clone(), BufReader::new(process.stdout.take().unwrap()));
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).expect("the attacker speaks JSON");
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = said;
            }
        });
        let (input, reader) = (Some(input), Some(reader));
        Self { attack: attack.to_owned(), process, input, counts, reader }
    }

    /// What it has counted so far under this name, and all that begin with it.
    pub(crate) fn count(&self, name: &str) -> u64 {
        sum(&self.counts.lock().unwrap_or_else(PoisonError::into_inner), name)
    }

    /// Waits until it has counted so many.
    pub(crate) async fn until(&self, name: &str, count: u64) {
        let what = format!("the attack '{}' counts {count} of '{name}'", self.attack);
        until(&what, PATIENCE, || self.count(name) >= count).await;
    }

    /// It goes on until now, and closes what it has.
    pub(crate) fn end(mut self) -> Counts {
        drop(self.input.take());
        let status = self.process.wait().expect("it was started here");
        assert!(status.success(), "the attack '{}' could not go on: {status}", self.attack);
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it goes on.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // It has ended, or the drill has failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that was counted under names that begin so.
pub(crate) fn sum(counts: &Counts, name: &str) -> u64 {
    let named = counts.iter().filter(|(counted, _)| counted.starts_with(name));
    named.map(|(_, count)| count).sum()
}
