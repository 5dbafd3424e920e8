//! The command line.

mod completions;
mod control;
mod expose;
mod forward;
mod forwards;
mod inspect;
mod key;
mod ping;
mod policy;
mod progress;
mod receive;
#[cfg(test)]
mod reference;
mod report;
mod run;
mod send;
mod status;
mod time;
mod token;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use baton_client::files::FileError;
use baton_client::profile::TokenSource;
use baton_client::token::{KeyError, NoSigningKey, NoToken, TokenError};
use baton_client::{
    Client, ClientConfig, ConnectError, Identity, IdentityError, OpenError, Options, Policy,
    Profile, ProfileError,
};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Reach peers through a fleet of relays.
#[derive(Parser)]
#[command(name = "baton", version, max_term_width = 100)]
pub(crate) struct Baton {
    #[command(subcommand)]
    verb: Verb,
    /// What to log, as `tracing` filters
    #[arg(long, global = true, env = "BATON_LOG", value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Make and look at keys
    #[command(subcommand)]
    Key(key::Verb),
    /// Make and look at access tokens
    #[command(subcommand)]
    Token(token::Verb),
    /// Let other peers reach a service
    #[command(subcommand)]
    Expose(expose::Verb),
    /// Bring a service of another peer to a local port
    Forward(forward::Forward),
    /// Expose and forward many services in one process
    Run(run::Run),
    /// Send a file to another peer
    Send(send::Send),
    /// Take files from other peers
    Receive(receive::Receive),
    /// Measure the way to another peer
    Ping(ping::Ping),
    /// Say how the processes are that run: relay, path, round trip, handovers, migrations
    Status(status::Status),
    /// Print a script that completes commands in a shell
    Completions(completions::Completions),
}

/// How a verb reaches its pool.
#[derive(Args, Clone)]
pub(crate) struct Pool {
    /// The pool's profile: `profile.json` of the ConfigMap <pool>-client
    #[arg(long, env = "BATON_PROFILE", value_name = "FILE")]
    profile: PathBuf,
    /// The file with the access token; BATON_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The key file that says who this is
    #[arg(long, env = "BATON_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The largest UDP payload to try, 1280 to 65535
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// At the end, how long to wait for what is under way; 0s cuts it
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = time::time_or_zero)]
    drain: Duration,
}

/// All that it takes to attach.
#[derive(Debug)]
pub(crate) struct Reach {
    profile: PathBuf,
    token_file: Option<PathBuf>,
    key: Option<PathBuf>,
    options: Options,
}

/// What ends a command with exit code 1. One line each: what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("this process cannot start: {0}")]
    Runtime(io::Error),
    #[error("'{filter}' is no log filter: {problem}; try `info` or `baton_client=debug`")]
    Log { filter: String, problem: String },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the secret {} cannot be read: {source}; give a file with a value of the Secret <pool>-auth", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the access token cannot be had: {0}; `baton token issue` makes one")]
    NoToken(#[source] io::Error),
    #[error("BATON_TOKEN {0}: put an access token in it, or unset it")]
    TokenVariable(&'static str),
    #[error("{} cannot be read: {source}; give a file with an access token, or with a key", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    TokenForm(#[from] NoToken),
    #[error("the key {} cannot be used: {fault}", path.display())]
    Key { path: PathBuf, fault: KeyError },
    #[error("the private key {} cannot be used: {fault}", path.display())]
    PrivateKey { path: PathBuf, fault: NoSigningKey },
    #[error("the access token is not verified: {0}")]
    Unverified(String),
    #[error("{address} cannot be listened on: {source}; choose another address")]
    Listen { address: String, source: io::Error },
    #[error("peer {peer}: {source}")]
    Peer { peer: baton_client::PeerId, source: OpenError },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the configuration {} cannot be read: {source}", path.display())]
    Config { path: PathBuf, source: io::Error },
    #[error("{} cannot be used: {}", path.display(), faults.join("; "))]
    InvalidConfig { path: PathBuf, faults: Vec<String> },
    #[error("files cannot be put into {}: {source}; give a folder that is there", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "running processes cannot be asked: {0}; set XDG_RUNTIME_DIR as it was when they started"
    )]
    Control(io::Error),
    #[error(
        "{0}: `baton expose`, `forward`, `run`, `send` and `receive` can be asked while they run"
    )]
    NotRunning(String),
    #[error("interrupted: what has come stays, and the same command goes on from there")]
    Interrupted,
    #[error("{0}")]
    Ended(String),
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Baton {
    /// Logs to standard error, as asked. What runs for long says when it moves, what is quickly done says only what is wrong.
    pub(crate) fn start_log(&self) -> Result<(), Failure> {
        let runs = matches!(self.verb, Verb::Expose(_) | Verb::Forward(_) | Verb::Run(_));
        let usual = if runs { "info" } else { "warn" };
        let filter = self.log.as_deref().unwrap_or(usual);
        let parsed = filter.parse::<EnvFilter>();
        let parsed = parsed.map_err(|error| Failure::Log {
            filter: filter.to_owned(),
            problem: error.to_string(),
        })?;
        tracing_subscriber::fmt()
            .with_env_filter(parsed)
            .with_writer(io::stderr)
            .with_target(false)
            .init();
        Ok(())
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Key(verb) => verb.run(),
            Verb::Token(verb) => verb.run(),
            Verb::Expose(verb) => verb.run().await,
            Verb::Forward(forward) => forward.run().await,
            Verb::Run(run) => run.run().await,
            Verb::Send(send) => send.run().await,
            Verb::Receive(receive) => receive.run().await,
            Verb::Ping(ping) => ping.run().await,
            Verb::Status(status) => status.run().await,
            Verb::Completions(completions) => completions.run(),
        }
    }
}

impl Pool {
    fn reach(&self) -> Reach {
        let Self { profile, token_file, key, mtu, drain } = self.clone();
        let mut options = Options::default();
        options.mtu = mtu.unwrap_or(options.mtu);
        options.drain = drain;
        Reach { profile, token_file, key, options }
    }
}

impl Reach {
    /// Attaches, with the key file's key or one of this process alone, and lets these in.
    async fn connect(&self, policy: Policy) -> Result<Client, Failure> {
        let mut profile = Profile::read(&self.profile)?;
        if let Some(path) = &self.token_file {
            profile.token = TokenSource::File(path.clone());
        } else if let Some(token) = std::env::var_os("BATON_TOKEN") {
            let token = token.into_string().map_err(|_| Failure::TokenVariable("holds no text"))?;
            if token.trim().is_empty() {
                return Err(Failure::TokenVariable("is empty"));
            }
            profile.token = TokenSource::Fixed(token.trim().to_owned().into());
        }
        // Later a file that cannot be read may be there again soon, so a dial is repeated. Now it is a mistake.
        profile.token.check().map_err(Failure::NoToken)?;
        let identity = match &self.key {
            Some(path) => Identity::load(path)?,
            None => Identity::ephemeral(),
        };
        let config = ClientConfig::new(identity, profile).options(self.options.clone());
        let config = config.policy(policy);
        Ok(Client::connect(config).await?)
    }
}

/// Closes, which waits for what is under way; whoever says stop again does not want to wait.
async fn close(client: &Client) {
    let mut closing = std::pin::pin!(client.close());
    tokio::select! {
        () = &mut closing => return,
        _ = told() => client.hurry(),
    }
    closing.await;
}

/// Waits for Ctrl-C or SIGTERM.
async fn told() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Runtime),
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C, SIGTERM, or the end of the attachment, which is an error.
async fn until_told(client: &Client) -> Result<(), Failure> {
    let mut events = client.events();
    let ended = async {
        loop {
            if let Some(why) = client.status().ended {
                return why;
            }
            if events.next().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        told = told() => told,
        why = ended => Err(Failure::Ended(over(&why))),
    }
}

fn over(why: &baton_client::Ended) -> String {
    use baton_client::Ended;
    match why {
        Ended::Superseded => "another process attached with the same key and has taken over: give each process its own".into(),
        Ended::Closing => "the pool is being closed: there is no relay to move to".into(),
        Ended::Refused(refused) => format!("the pool refuses this peer ({}): {}", refused.code.name(), refused.message),
        Ended::ByOwner => "closed".into(),
    }
}
