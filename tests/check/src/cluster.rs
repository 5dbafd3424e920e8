//! The cluster that tests run on: the one that is up, or one for the time of the run.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::Step;
use crate::report::{Outcome, Recorded};

/// kube-proxy's modes, the one of `make test` first.
pub(crate) const MODES: &[&str] = &["nftables", "iptables"];

/// Packages, and Kubernetes from its modules: minutes the first time.
const PREPARE: [&str; 8] = [
    "cargo",
    "run",
    "--quiet",
    "--package",
    "baton-cluster",
    "--",
    "prepare",
    "--install-packages",
];
const PREPARE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// A cluster for the time of a run.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// `None`: it was up before, and stays.
    ours: Option<Child>,
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

    /// Before tests that own the machine's cluster: none may be up, and everything that one needs must
    /// be built. `Some`: they are left out, since another cluster is tested.
    pub(crate) fn must_be_down(target: &str) -> anyhow::Result<Option<Outcome>> {
        if Self::is_existing()? {
            let left_out = Recorded::left_out(target, "it is about our own cluster");
            return Ok(Some(Outcome { tests: 0, left_out: 1, recorded: vec![left_out] }));
        }
        match mode_of_the_one_that_is_up()? {
            None => {
                Step::new(&PREPARE, PREPARE_LIMIT).run()?;
                Ok(None)
            }
            Some(_) => bail!(
                "a cluster is up, and these tests need the machine to themselves: \
                 `make cluster-down`"
            ),
        }
    }

    /// A cluster with this proxy mode: the one that is up, or a new one, which goes when this is
    /// dropped, or when this process ends, however it ends.
    #[expect(clippy::print_stderr, reason = "progress")]
    pub(crate) fn up(mode: &str) -> anyhow::Result<Self> {
        if Self::is_existing()? {
            return Ok(Self { ours: None });
        }
        match mode_of_the_one_that_is_up()? {
            Some(up) if up == mode => return Ok(Self { ours: None }),
            Some(up) => {
                bail!("a cluster in {up} mode is up; {mode} is needed: `make cluster-down`")
            }
            None => {}
        }
        let mut child = tool(&["up", "--attached", "--install-packages", "--proxy-mode", mode])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let said = child.stderr.take().context("no output")?;
        let (up, is_up) = mpsc::sync_channel(1);
        // Reads to the end: the command must never find that nobody listens. It ends with the command.
        thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                eprintln!("{line}");
                if line.contains(" is up after ") {
                    let _ = up.send(());
                }
            }
        });
        match is_up.recv() {
            Ok(()) => Ok(Self { ours: Some(child) }),
            Err(_) => bail!("the cluster did not come up ({})", child.wait()?),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut child) = self.ours.take() {
            // The end of its input takes the cluster down.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

fn mode_of_the_one_that_is_up() -> anyhow::Result<Option<String>> {
    let output = tool(&["status", "--json"]).output().context("cannot run cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("no cluster is up") {
            return Ok(None);
        }
        bail!("the cluster's state cannot be had: {}", said.trim());
    }
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let mode = status["shape"]["proxy_mode"].as_str().context("a status without a proxy mode")?;
    Ok(Some(mode.to_owned()))
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--package", "baton-cluster", "--"]).args(arguments);
    command
}
