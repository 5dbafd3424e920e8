//! `baton token`: what lets a peer in.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_client::PeerId;
use baton_client::token::{Grant, issue};
use clap::{ArgGroup, Subcommand};

use super::Failure;
use super::time::time;

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
