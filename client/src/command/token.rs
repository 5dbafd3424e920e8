//! `baton token`: what lets a peer in.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_client::PeerId;
use baton_client::token::{Grant, issue};
use clap::{ArgGroup, Subcommand};

use super::Failure;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make an access token and print it
    #[command(group = ArgGroup::new("who").required(true))]
    Issue {
        /// The file with the pool's shared secret: a value of the Secret <pool>-auth
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
        /// The pool that it is for
        #[arg(long, value_name = "NS/NAME")]
        pool: String,
        /// The peer that it is for
        #[arg(long, group = "who", value_name = "ID")]
        peer: Option<PeerId>,
        /// For whoever holds it, with any key: what `forward` and `ping` need for keys of their own
        #[arg(long, group = "who")]
        any_peer: bool,
        /// The group whose peers can reach each other
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        /// How long it is valid: a number with s, m, h or d
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = time)]
        ttl: Duration,
    },
}

impl Verb {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self::Issue { secret_file: path, pool, peer, any_peer: _, group, ttl } = self;
        let secret = std::fs::read(&path).map_err(|source| Failure::Secret { path, source })?;
        // A clock before 1970 makes a token that expired then: the relay will say so.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let token = issue(&Grant { pool, peer, group, lifetime: ttl }, &secret, now.as_secs())?;
        Ok(writeln!(std::io::stdout(), "{token}")?)
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: write a number with s, m, h or d, as in 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 =
        text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        for text in [
            "",
            "h",
            "24",
            "0h",
            "-1h",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "999999999999999999d",
            "ü",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
