//! `baton token`: what lets a peer in.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use baton_client::PeerId;
use baton_client::token::{Grant, SigningKey, TokenError, issue_with, now_unix};
use clap::{ArgGroup, Subcommand};

use super::Failure;
use super::inspect::Inspect;
use super::time::time;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make an access token and print it
    #[command(group = ArgGroup::new("who").required(true), group = ArgGroup::new("with").required(true))]
    Issue {
        /// The file with the pool's shared secret: a value of the Secret <pool>-auth
        #[arg(long, group = "with", value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// The file with the private key whose public half the pool's relays have: Ed25519 or P-256, PKCS #8 in PEM
        #[arg(long, group = "with", value_name = "FILE")]
        private_key_file: Option<PathBuf>,
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
    /// Say what an access token says, until when it is valid, and whether a key made it
    Inspect(Inspect),
}

impl Verb {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (secret, private, grant) = match self {
            Self::Inspect(inspect) => return inspect.run(),
            Self::Issue { secret_file, private_key_file, pool, peer, any_peer: _, group, ttl } => {
                (secret_file, private_key_file, Grant { pool, peer, group, lifetime: ttl })
            }
        };
        let read =
            |path: PathBuf| std::fs::read(&path).map_err(|source| Failure::Secret { path, source });
        let key = match (private, secret) {
            (Some(path), _) => SigningKey::pem(&read(path.clone())?)
                .map_err(|fault| Failure::PrivateKey { path, fault })?,
            // One of the two is there: they are a group of which one is demanded.
            (None, secret) => SigningKey::secret(&read(secret.unwrap_or_default())?)
                .map_err(TokenError::ShortSecret)?,
        };
        // A clock before 1970 makes a token that expired then: the relay will say so.
        let token = issue_with(&grant, &key, now_unix())?;
        Ok(writeln!(std::io::stdout(), "{token}")?)
    }
}
