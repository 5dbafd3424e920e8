//! The relay's flags, environment and configuration file: one struct, judged as a whole. Every error is reported, not only the
//! first.

mod file;
mod rates;
mod reload;
pub mod watch;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::liveness::{MIGRATION_WINDOW, Timers};
use baton_protocol::token::is_audience;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::auth::{Allowlist, Mode, TokenKeys};
use crate::keys::PoolKeys;
use crate::relay::{Config, Reload};
use crate::seeds::MESH_PORT;
use crate::transport::provider;

pub use rates::RateFlags;
pub use reload::Reloader;

/// A relay of a Baton pool. In Kubernetes its operator sets all of this; see docs/drain-contract.md.
#[derive(Clone, PartialEq, Eq, Debug, Parser)]
#[command(name = "baton-relay", version = crate::version())]
pub struct Flags {
    /// A file with what else could be given here: YAML with the names of these flags. What is given here, or in the
    /// environment, counts before it; it is read again when it changes, and at SIGHUP
    #[arg(long, env = "BATON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The pool that it belongs to, `<namespace>/<pool>`: the audience of access tokens
    #[arg(long, env = "BATON_POOL", value_name = "NS/NAME")]
    pub pool: String,
    /// The pod's UID; elsewhere any name that no other relay of the pool has
    #[arg(long, env = "BATON_POD_UID", value_name = "NAME")]
    pub name: String,
    /// The address at which siblings reach this relay
    #[arg(long, env = "BATON_POD_IP", value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Where clients come in (UDP)
    #[arg(long, env = "BATON_LISTEN", default_value = "[::]:4443", value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// Where siblings come in (UDP)
    #[arg(long, env = "BATON_MESH_LISTEN", default_value = "[::]:4444", value_name = "IP:PORT")]
    pub mesh_listen: SocketAddr,
    /// Where it answers the operator and scrapers (TCP)
    #[arg(long, env = "BATON_ADMIN_LISTEN", default_value = "[::]:9100", value_name = "IP:PORT")]
    pub admin_listen: SocketAddr,
    /// Whom it lets in
    #[arg(long, env = "BATON_AUTH_MODE", default_value = "token", value_name = "MODE")]
    pub auth_mode: AuthMode,
    /// The number of the pool's rules of who may attach. Raise it, at all relays, and no session moves or resumes with a ticket from
    /// before: its client shows its access token again
    #[arg(long, env = "BATON_POLICY_EPOCH", default_value_t = 0, value_name = "NUMBER")]
    pub policy_epoch: u32,
    /// How many sessions it may have
    #[arg(long, env = "BATON_MAX_SESSIONS", default_value_t = 10_000, value_name = "COUNT")]
    pub max_sessions: usize,
    /// How long the record of a session is kept that fell silent, from its second missing keep-alive (24 s) on, in seconds: its
    /// client may be on its way to another network
    #[arg(
        long,
        env = "BATON_MIGRATION_WINDOW_SECONDS",
        default_value_t = MIGRATION_WINDOW.as_secs(),
        value_name = "SECONDS"
    )]
    pub migration_window_seconds: u64,
    /// How much may pass.
    #[command(flatten)]
    pub rates: RateFlags,
    /// The folder with the pool's secrets: `current`, and `next` and `previous` while they are exchanged
    #[arg(long, env = "BATON_POOL_KEYS", default_value = "/etc/baton/pool", value_name = "FOLDER")]
    pub pool_keys: PathBuf,
    /// The folder with what access tokens are verified with: a shared secret in each file, public keys in *.pem, JWKS in
    /// *.json
    #[arg(long, env = "BATON_AUTH_KEYS", default_value = "/etc/baton/auth", value_name = "FOLDER")]
    pub auth_keys: PathBuf,
    /// The file with the peers that mode `allowlist` lets in: on each line a peer id and, if it has one, its group
    #[arg(
        long,
        env = "BATON_ALLOWLIST",
        default_value = "/etc/baton/allowlist/peers",
        value_name = "FILE"
    )]
    pub allowlist: PathBuf,
    /// The folder with the certificate that clients are shown: `tls.crt` and `tls.key`
    #[arg(long, env = "BATON_TLS", default_value = "/etc/baton/tls", value_name = "FOLDER")]
    pub tls: PathBuf,
    /// The file with the shutdown flag
    #[arg(
        long,
        env = "BATON_DRAIN_FILE",
        default_value = "/etc/baton/podinfo/drain",
        value_name = "FILE"
    )]
    pub drain_file: PathBuf,
    /// The file with the siblings to begin with
    #[arg(
        long,
        env = "BATON_SEEDS_FILE",
        default_value = "/etc/baton/podinfo/seeds",
        value_name = "FILE"
    )]
    pub seeds_file: PathBuf,
    /// The folder that outlives a restart of this process
    #[arg(long, env = "BATON_STATE", default_value = "/var/lib/baton", value_name = "FOLDER")]
    pub state: PathBuf,
    /// The file that gets the last status
    #[arg(
        long,
        env = "BATON_TERMINATION_LOG",
        default_value = "/dev/termination-log",
        value_name = "FILE"
    )]
    pub termination_log: PathBuf,
    /// How long it may take from SIGTERM to its end, in seconds
    #[arg(
        long,
        env = "BATON_TERMINATION_GRACE_SECONDS",
        default_value_t = 80,
        value_name = "SECONDS"
    )]
    pub termination_grace_seconds: u64,
    /// How much of that may pass after the last session, in seconds
    #[arg(long, env = "BATON_LINGER_SECONDS", default_value_t = 10, value_name = "SECONDS")]
    pub linger_seconds: u64,
    /// What it logs, as `tracing` filters
    #[arg(long, env = "BATON_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

/// Whom a relay lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AuthMode {
    /// Who shows an access token
    Token,
    /// Who is on a list of peers
    Allowlist,
    /// Anyone who holds a key
    Open,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used: {}", self.0.join("; "))
    }
}

impl Error for ConfigErrors {}

/// A command line that makes no sense, or a configuration file.
#[derive(Debug)]
pub enum FlagsError {
    /// It, or the environment.
    Usage(clap::Error),
    /// The file.
    File(ConfigErrors),
}

impl Flags {
    /// From a command line, its environment, and the file that one of them names.
    pub fn load(line: &[OsString]) -> Result<Self, FlagsError> {
        let command = Self::command();
        let first = command.clone().ignore_errors(true).try_get_matches_from(line).ok();
        let path = first.and_then(|matches| matches.get_one::<PathBuf>("config").cloned());
        let matches = match path {
            None => command.try_get_matches_from(line),
            Some(path) => {
                let line = file::arguments(&command, line, &path)
                    .map_err(|wrong| FlagsError::File(ConfigErrors(wrong)))?;
                command.args_override_self(true).try_get_matches_from(line)
            }
        };
        let flags = matches.and_then(|matches| Self::from_arg_matches(&matches));
        flags.map_err(FlagsError::Usage)
    }

    /// Reads the files, judges everything, and gives the configuration of the relay.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        let Reload { keys, mode, certificates, private_key, max_sessions, rates, policy_epoch } =
            self.rules()?;
        Ok(Config {
            name: self.name.clone(),
            pool: self.pool.clone(),
            listen: self.listen,
            mesh_listen: self.mesh_listen,
            mesh_advertise: self.advertise.map(|ip| SocketAddr::new(ip, self.mesh_port())),
            admin_listen: self.admin_listen,
            keys,
            mode,
            certificates,
            private_key,
            epoch: crate::epoch::next(&self.state),
            max_sessions,
            rates,
            policy_epoch,
            timers: self.timers(),
        })
    }

    const fn timers(&self) -> Timers {
        let migration_window = Duration::from_secs(self.migration_window_seconds);
        Timers { migration_window, ..Timers::DEFAULT }
    }

    /// Reads the files and judges everything, and gives what of it may change while the relay runs.
    pub fn rules(&self) -> Result<Reload, ConfigErrors> {
        let mut errors = Vec::new();
        self.judge(&mut errors);
        let rates = self.rates.rates(&mut errors);
        let keys = keep(PoolKeys::read(&self.pool_keys), &mut errors);
        let mode = match self.auth_mode {
            AuthMode::Open => Some(Mode::Open),
            AuthMode::Allowlist => {
                keep(Allowlist::read(&self.allowlist), &mut errors).map(Mode::Allowlist)
            }
            AuthMode::Token => keep(TokenKeys::read(&self.auth_keys), &mut errors).map(Mode::Token),
        };
        let tls = read_tls(&self.tls).map_err(|wrong| errors.extend(wrong)).ok();
        let (Some(keys), Some(mode), Some((certificates, private_key))) = (keys, mode, tls) else {
            return Err(ConfigErrors(errors));
        };
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let (max_sessions, policy_epoch) = (self.max_sessions, self.policy_epoch);
        Ok(Reload { keys, mode, certificates, private_key, max_sessions, rates, policy_epoch })
    }

    /// The files that [`rules`](Self::rules) reads, and the one that these flags come from.
    fn files(&self) -> Vec<PathBuf> {
        let who = match self.auth_mode {
            AuthMode::Token => Some(&self.auth_keys),
            AuthMode::Allowlist => Some(&self.allowlist),
            AuthMode::Open => None,
        };
        [self.config.as_ref(), Some(&self.pool_keys), who, Some(&self.tls)]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// How long sessions have from SIGTERM on, if no flag was set: what is left after linger and margin.
    #[must_use]
    pub fn drain_grace(&self) -> Duration {
        Duration::from_secs(self.termination_grace_seconds.saturating_sub(self.taken_seconds()))
    }

    /// What is taken of the grace: the linger, and a margin.
    const fn taken_seconds(&self) -> u64 {
        self.linger_seconds.saturating_add(2)
    }

    const fn mesh_port(&self) -> u16 {
        match self.mesh_listen.port() {
            0 => MESH_PORT,
            port => port,
        }
    }

    fn judge(&self, errors: &mut Vec<String>) {
        if !is_audience(&self.pool) {
            errors.push(format!("--pool is '{}', and must be <namespace>/<pool>", self.pool));
        }
        if self.name.is_empty() {
            errors.push("--name is empty: give the pod's UID, or any name that no other relay of the pool has".into());
        }
        if self.listen.port() != 0 && self.listen.port() == self.mesh_listen.port() {
            errors.push(format!(
                "--listen {} and --mesh-listen {} have the same port: give each its own",
                self.listen, self.mesh_listen
            ));
        }
        if self.max_sessions == 0 {
            errors.push("--max-sessions is 0, and nobody could attach: give 1 or more".into());
        }
        let wrong = self.timers().faults();
        errors.extend(wrong.iter().map(|wrong| format!("--migration-window-seconds: {wrong}")));
        if self.termination_grace_seconds <= self.taken_seconds() {
            errors.push(format!(
                "--termination-grace-seconds is {}, and must be more than --linger-seconds {} + 2: sessions would have no \
                 time to move",
                self.termination_grace_seconds, self.linger_seconds
            ));
        }
    }
}

fn keep<T, E: Error>(result: Result<T, Vec<E>>, errors: &mut Vec<String>) -> Option<T> {
    result.map_err(|wrong| errors.extend(wrong.iter().map(|error| with_causes(error)))).ok()
}

/// An error, and why: in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

type Tls = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads what clients are shown, and judges whether it can be. The error is everything that is wrong with it.
fn read_tls(folder: &Path) -> Result<Tls, Vec<String>> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let certificates = read_certificates(&certificate);
    let private_key = PrivateKeyDer::from_pem_file(&key).map_err(|error| {
        format!("{}: {error}: mount the Secret with the pool's certificate there", key.display())
    });
    match (certificates, private_key) {
        (Ok(certificates), Ok(private_key)) => {
            CertifiedKey::from_der(certificates.clone(), private_key.clone_key(), &provider())
                .map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    vec![format!(
                        "{certificate} and {key} cannot be used together: {error}: give the certificate and the key it was \
                         made for"
                    )]
                })?;
            Ok((certificates, private_key))
        }
        (certificates, private_key) => {
            Err([certificates.err(), private_key.err()].into_iter().flatten().collect())
        }
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error| {
        format!("{}: {error}: mount the Secret with the pool's certificate there", path.display())
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if certificates.is_empty() {
        Err(format!("{}: there is no certificate in it: it must be PEM", path.display()))
    } else {
        Ok(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        let all = [&["baton-relay", "--pool", "ns/edge", "--name", "a"], arguments].concat();
        Flags::try_parse_from(all).unwrap()
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere").display().to_string();
        let mut flags = flags(&[
            "--max-sessions=0",
            "--migration-window-seconds=60",
            "--termination-grace-seconds=10",
            &format!("--pool-keys={nowhere}"),
            &format!("--auth-keys={nowhere}"),
            &format!("--tls={nowhere}"),
        ]);
        flags.pool = "edge".into();
        flags.name = String::new();
        let errors = flags.config().unwrap_err();
        assert_eq!(errors.0.len(), 9, "{errors}");
        for part in [
            "--pool",
            "--name",
            "--max-sessions",
            "--migration-window-seconds: two keep-alive intervals and the migration window (84 s) must be shorter",
            "--linger-seconds",
            "current",
            "tls.crt",
            "tls.key",
        ] {
            assert!(errors.to_string().contains(part), "{part} is missing in {errors}");
        }
    }

    #[test]
    fn sessions_have_what_linger_and_margin_leave() {
        let flags = flags(&["--termination-grace-seconds=80", "--linger-seconds=10"]);
        assert_eq!(flags.drain_grace(), Duration::from_secs(68));
    }
}
