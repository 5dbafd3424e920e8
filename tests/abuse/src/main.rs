//! `baton-abuse`: whatever a relay must stand, as a program, so that the half of a processor that it may have is its own.
//!
//! It is told the field in one line of JSON on its standard input, says what it has done and seen in a line of JSON every now
//! and then, and ends, after it has closed its connections, when its input does. The drills that use it are `tests/tests/abuse`.

mod attacks;
mod counts;
mod deaf;
mod field;
mod initial;
mod peer;

use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use attacks::Attack;
use counts::Counts;
use field::{Field, Told};

/// How often it says what it has done.
const SAY: Duration = Duration::from_millis(100);

/// Attacks a relay, until its input ends.
#[derive(Debug, Parser)]
#[command(name = "baton-abuse")]
struct Flags {
    /// How
    attack: Attack,
}

#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
fn main() -> ExitCode {
    let Flags { attack } = Flags::parse();
    match told().and_then(|told| run(attack, told)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton-abuse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn told() -> anyhow::Result<Told> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    serde_json::from_str(&line).context("the first line of the input")
}

fn run(attack: Attack, told: Told) -> anyhow::Result<()> {
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        // Whatever else it says, and however it ends.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    // One thread: what half a processor can do is done in one place.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (field, counts) = (Field::new(told)?, Counts::default());
        tokio::select! {
            ended = attack.run(&field, &counts) => ended?,
            _ = stopped => {}
            () = say(&counts) => {}
        }
        field.leave().await;
        counts.say();
        Ok(())
    })
}

async fn say(counts: &Counts) {
    let mut beat = interval(SAY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        counts.say();
    }
}
