//! What `baton status` says of a process, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::SocketAddr;

use baton_client::{Client, FailureClass};
use serde::{Deserialize, Serialize};

/// A process at one moment.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) pid: u32,
    pub(crate) verb: String,
    peer: String,
    /// None while it is not attached.
    relay: Option<String>,
    rtt_ms: Option<f64>,
    path: Option<Path>,
    must_move: bool,
    handovers: u64,
    migrations: u64,
    failed_migrations: BTreeMap<String, u64>,
    resumes: u64,
    failures: BTreeMap<String, u64>,
    /// Connections and files under way.
    active: usize,
    dropped: u64,
    last_problem: Option<String>,
    ended: Option<String>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Path {
    local: Option<SocketAddr>,
    observed: SocketAddr,
    remote: SocketAddr,
}

impl Report {
    pub(crate) fn of(client: &Client, verb: &str) -> Self {
        let status = client.status();
        let by_name = |counts: &BTreeMap<FailureClass, u64>| {
            counts.iter().map(|(class, count)| (class.name().to_owned(), *count)).collect()
        };
        Self {
            pid: std::process::id(),
            verb: verb.to_owned(),
            peer: client.peer().to_string(),
            relay: status.relay.map(|relay| relay.to_string()),
            rtt_ms: status.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            path: status.path.map(|path| Path {
                local: path.local,
                observed: path.observed,
                remote: path.remote,
            }),
            must_move: status.must_move,
            handovers: status.handovers,
            migrations: status.migrations,
            failed_migrations: by_name(&status.failed_migrations),
            resumes: status.resumes,
            failures: by_name(&status.failures),
            active: status.active,
            dropped: status.dropped,
            last_problem: status.last_problem,
            ended: status.ended.as_ref().map(super::over),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "process {}: baton {}", self.pid, self.verb)?;
        writeln!(f, "  peer        {}", self.peer)?;
        match (&self.relay, self.rtt_ms) {
            (Some(relay), Some(rtt)) => writeln!(f, "  relay       {relay}, {rtt:.2} ms away")?,
            (Some(relay), None) => writeln!(f, "  relay       {relay}")?,
            (None, _) => writeln!(f, "  relay       none")?,
        }
        if let Some(Path { local, observed, remote }) = &self.path {
            let local = local.map_or_else(|| "?".to_owned(), |local| local.to_string());
            writeln!(f, "  path        {local} (seen as {observed}) to {remote}")?;
        }
        writeln!(f, "  handovers   {}", self.handovers)?;
        write!(f, "  migrations  {}", self.migrations)?;
        for (class, count) in &self.failed_migrations {
            write!(f, ", {count} failed: {class}")?;
        }
        writeln!(f)?;
        writeln!(f, "  resumes     {}", self.resumes)?;
        write!(f, "  active      {}", self.active)?;
        if self.dropped > 0 {
            write!(f, "\n  dropped     {} datagrams", self.dropped)?;
        }
        if let Some(problem) = &self.last_problem {
            write!(f, "\n  problem     {problem}")?;
        }
        if let Some(why) = &self.ended {
            write!(f, "\n  ended       {why}")?;
        }
        Ok(())
    }
}
