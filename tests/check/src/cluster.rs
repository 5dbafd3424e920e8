//! The cluster that tests run on: the one that is up, or one for the time of the run.

use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{self, Deadline, each_line, step};
use crate::report::{Outcome, Recorded};

/// kube-proxy's modes, the one of `make test` first.
pub(crate) const MODES: &[&str] = &["nftables", "iptables"];

/// How long making ready for a cluster may take: packages, and Kubernetes from its modules.
const PREPARE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long a look at the cluster may take, cargo's own look at the sources included.
const STATUS_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How long taking a cluster down may take.
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// The exit status by which `baton-cluster` says that no cluster is up.
const NOT_UP: i32 = 3;

/// The tests put pods on this many nodes.
const NODES_NEEDED: u64 = 3;

/// A cluster for the time of a run.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The command that brought it up. `None`: it was up before, and stays.
    ours: Option<Child>,
}

/// Makes the machine ready for a cluster: minutes the first time, which no target's limit is for.
pub(crate) fn prepare() -> anyhow::Result<()> {
    if Cluster::is_existing()? {
        return Ok(());
    }
    let prepare = ["prepare", "--install-packages"];
    step(&[&TOOL[..], &prepare].concat(), Deadline::after(PREPARE_LIMIT))
}

impl Cluster {
    /// Is it somebody else's cluster that is tested?
    pub(crate) fn is_existing() -> anyhow::Result<bool> {
        match std::env::var("CLUSTER").unwrap_or_default().as_str() {
            "" => Ok(false),
            "existing" => Ok(true),
            other => {
                bail!("CLUSTER={other} means nothing: write CLUSTER=existing, or leave it out")
            }
        }
    }

    /// Before tests that own the machine's cluster: none may be up. `Some`: they are left out, since
    /// another cluster is tested.
    pub(crate) fn must_be_down(target: &str) -> anyhow::Result<Option<Outcome>> {
        if Self::is_existing()? {
            let left_out = Recorded::left_out(target, "it is about our own cluster");
            return Ok(Some(Outcome { tests: 0, left_out: 1, recorded: vec![left_out] }));
        }
        match status()? {
            None => Ok(None),
            Some(_) => bail!(
                "a cluster is up, and these tests need the machine to themselves: \
                 `make cluster-down`"
            ),
        }
    }

    /// A cluster with this proxy mode: the one that is up, or a new one, which goes when this is
    /// dropped, or when this process ends, however it ends. With `KEEP=1` it goes only by
    /// [`Cluster::end`].
    pub(crate) fn up(mode: &str, deadline: Deadline) -> anyhow::Result<Self> {
        if Self::is_existing()? {
            return Ok(Self { ours: None });
        }
        if let Some(status) = status()? {
            check_fit(&status, mode)?;
            return Ok(Self { ours: None });
        }
        let mut command = tool(&["up", "--proxy-mode", mode]);
        if !keeps() {
            command.arg("--attached");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let said = child.stderr.take().context("no output")?;
        // From here on it is taken down, whatever happens.
        let mut cluster = Self { ours: Some(child) };
        match wait_until_up(said, deadline) {
            Ok(()) => Ok(cluster),
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("the cluster was not up in time"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                cluster.take_down()?;
                bail!("the cluster did not come up")
            }
        }
    }

    /// Takes the cluster down if it is ours; with `KEEP=1` not after a failure.
    #[expect(clippy::print_stderr, reason = "says what stays")]
    pub(crate) fn end(mut self, failed: bool) -> anyhow::Result<()> {
        if self.ours.is_some() && keeps() {
            if failed {
                eprintln!("kept: the cluster stays up (`make cluster-down` ends it)");
                return Ok(());
            }
            return step(&[&TOOL[..], &["down"]].concat(), Deadline::after(DOWN_LIMIT));
        }
        self.take_down()
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.ours.take() else { return Ok(()) };
        // The end of its input takes an attached cluster down.
        drop(child.stdin.take());
        match command::end(&mut child, Deadline::after(DOWN_LIMIT))? {
            Some(_) => Ok(()),
            None => bail!("the cluster did not go down within {} s", DOWN_LIMIT.as_secs()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whoever wants to know uses `end`.
        let _ = self.take_down();
    }
}

/// Prints what `up` says, and returns once it says that the cluster is up.
#[expect(clippy::print_stderr, reason = "progress")]
fn wait_until_up(said: ChildStderr, deadline: Deadline) -> Result<(), mpsc::RecvTimeoutError> {
    let (up, is_up) = mpsc::sync_channel(1);
    // Reads to the end: the command must never find that nobody listens. It ends with the command.
    thread::spawn(move || {
        each_line(said, |line| {
            eprintln!("{line}");
            if line.contains(" is up after ") {
                let _ = up.send(());
            }
            true
        });
    });
    is_up.recv_timeout(deadline.left())
}

/// Do the tests fit on this cluster?
fn check_fit(status: &Value, mode: &str) -> anyhow::Result<()> {
    let shape = &status["shape"];
    let up = shape["proxy_mode"].as_str().context("a status without a proxy mode")?;
    if up != mode {
        bail!("a cluster in {up} mode is up; {mode} is needed: `make cluster-down`");
    }
    let nodes = shape["nodes"].as_u64().context("a status without nodes")?;
    if nodes < NODES_NEEDED {
        bail!("a cluster of {nodes} is up; {NODES_NEEDED} nodes are needed: `make cluster-down`");
    }
    Ok(())
}

/// Shall what failed stay to be looked at?
fn keeps() -> bool {
    std::env::var_os("KEEP").is_some_and(|keep| keep == "1")
}

/// The status of the cluster that is up.
fn status() -> anyhow::Result<Option<Value>> {
    let deadline = Deadline::after(STATUS_LIMIT);
    let output = command::output(&mut tool(&["status", "--json"]), deadline)?;
    match output.status.code() {
        Some(0) => Ok(Some(serde_json::from_slice(&output.stdout)?)),
        Some(NOT_UP) => Ok(None),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("the cluster's state cannot be had: {}", said.trim())
        }
    }
}

const TOOL: [&str; 6] = ["cargo", "run", "--quiet", "--package", "baton-cluster", "--"];

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(TOOL[0]);
    command.args(&TOOL[1..]).args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_cluster_that_fits_is_taken_over() {
        let status = |mode: &str, nodes: u8| json!({"shape": {"proxy_mode": mode, "nodes": nodes}});
        assert!(check_fit(&status("nftables", 3), "nftables").is_ok());
        assert!(check_fit(&status("nftables", 9), "nftables").is_ok());
        for (other, expected) in [(status("iptables", 3), "iptables"), (status("nftables", 1), "1")]
        {
            let said = check_fit(&other, "nftables").unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("cluster-down"), "{said}");
        }
    }
}
