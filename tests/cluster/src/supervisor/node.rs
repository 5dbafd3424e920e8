//! A node: its machine, its daemons' configuration, and the line to its process 1.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::daemon::DaemonEnded;
use super::memory::parent_of;
use super::node_config;
use super::{Setup, StartError};
use crate::address::NodeId;
use crate::kube_program::tail;
use crate::names;
use crate::node_init::{Answer, Daemon, DaemonSpec, DaemonState, NodeSpec, Order};
use crate::run::{CommandError, run, run_in};

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    process_1: u32,
    line: Mutex<Line>,
    /// Ends the whole node when it is dropped.
    _outer: Child,
}

/// The line to process 1: an order goes down, an answer comes up.
#[derive(Debug)]
struct Line {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Makes the node's folder and starts its process 1; no daemon runs yet.
    pub(super) async fn create(setup: &Setup, id: NodeId) -> Result<Self, StartError> {
        let folder = setup.state.join(id.to_string());
        let spec_file = folder.join("node.json");
        let write = || {
            node_config::write(setup, id, &folder)?;
            let spec = spec(setup, id, &folder);
            fs::write(&spec_file, serde_json::to_vec_pretty(&spec)?)
        };
        write().map_err(StartError::at(&format!("configuration of {id}")))?;
        setup.machine.cgroups.create(&id.to_string())?;

        let command = [
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            // What the machine unmounts goes here too: a copy would keep file systems and network
            // namespaces alive for as long as the node. Nothing of the node's goes the other way.
            "--propagation=slave",
            "--",
            &setup.own_program.to_string_lossy(),
            "node-init",
            &spec_file.to_string_lossy(),
        ]
        .map(str::to_owned);
        let log = names::log_dir().join(format!("{id}-init.log"));
        let namespace = names::node_namespace(id);
        let started =
            super::daemon::spawn(&namespace, &command, &log, Stdio::piped(), Some(Stdio::piped()));
        let broken = || StartError::at(&format!("process 1 of {id}"));
        let mut outer = started.map_err(broken())?;
        let (Some(orders), Some(answers)) = (outer.stdin.take(), outer.stdout.take()) else {
            return Err(broken()(io::ErrorKind::BrokenPipe.into()));
        };
        let mut line = Line { orders, answers: BufReader::new(answers).lines() };
        // The first answer comes unasked: the mounts are made, or why not.
        line.answer().await.map_err(|error| {
            let said = tail(&log, 5);
            broken()(io::Error::new(error.kind(), format!("{error} {said}")))
        })?;
        let process_1 = outer
            .id()
            .and_then(child_of)
            .ok_or_else(|| broken()(io::ErrorKind::NotFound.into()))?;
        Ok(Self { id, process_1, line: Mutex::new(line), _outer: outer })
    }

    /// Process 1 as the machine numbers it: the way into the node's namespaces.
    pub(super) fn process_1(&self) -> u32 {
        self.process_1
    }

    /// Gives an order to process 1.
    pub(super) async fn order(&self, order: &Order) -> io::Result<BTreeMap<Daemon, DaemonState>> {
        let mut line = self.line.lock().await;
        let mut text = serde_json::to_vec(order)?;
        text.push(b'\n');
        line.orders.write_all(&text).await?;
        line.answer().await.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.id)))
    }

    /// How every daemon is. They live no longer than process 1.
    pub(super) async fn report(&self) -> BTreeMap<Daemon, DaemonState> {
        self.order(&Order::Report).await.unwrap_or_else(|error| {
            let state = DaemonState::Exited(format!("with the node: {error}"));
            Daemon::ALL.map(|daemon| (daemon, state.clone())).into()
        })
    }

    /// Has any daemon ended by itself?
    pub(super) async fn check(&self) -> Result<(), StartError> {
        let states = self.order(&Order::Report).await;
        let states = states.map_err(StartError::at(&format!("process 1 of {}", self.id)))?;
        for (daemon, state) in states {
            let name = format!("{daemon} of {}", self.id);
            DaemonEnded::check(&name, state, &log_of(self.id, daemon))?;
        }
        Ok(())
    }

    /// Brings an image archive into the node's container runtime.
    pub(super) async fn load_image(&self, archive: &Path) -> Result<(), CommandError> {
        let described = || format!("ctr images import {} on {}", archive.display(), self.id);
        let start = |source| CommandError::Start { command: described(), source };
        // As standard input: the node sees other folders than we do.
        let input = fs::File::open(archive).map_err(start)?;
        let output = Command::new("nsenter")
            .args(enter(self.process_1))
            .args(["ctr", "--namespace", "k8s.io", "images", "import", "-"])
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(start)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(CommandError::Failed { command: described(), status: output.status, said })
    }

    /// Does the container runtime answer?
    pub(super) async fn runtime_answers(&self) -> bool {
        let version = ["ctr", "--connect-timeout", "1s", "version"];
        run("nsenter", enter(self.process_1).iter().map(String::as_str).chain(version))
            .await
            .is_ok()
    }

    /// Forgets every UDP flow that the node knows.
    pub(super) async fn flush_conntrack(&self) -> Result<(), CommandError> {
        forget_flows(&names::node_namespace(self.id), "udp", &[]).await
    }
}

impl Line {
    async fn answer(&mut self) -> io::Result<BTreeMap<Daemon, DaemonState>> {
        let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "process 1 ended");
        let line = self.answers.next_line().await?.ok_or_else(ended)?;
        serde_json::from_str::<Answer>(&line)?.map_err(io::Error::other)
    }
}

/// The arguments of `nsenter` that enter every namespace of a node.
#[must_use]
pub fn enter(process_1: u32) -> Vec<String> {
    let process = process_1.to_string();
    ["--target", &process, "--mount", "--uts", "--net", "--pid", "--"].map(str::to_owned).to_vec()
}

/// Forgets a protocol's flows in a namespace; `which` narrows them down as `conntrack(8)` says.
pub(super) async fn forget_flows(
    namespace: &str,
    protocol: &str,
    which: &[String],
) -> Result<(), CommandError> {
    let mut command = vec!["conntrack", "--delete", "--proto", protocol];
    command.extend(which.iter().map(String::as_str));
    match run_in(namespace, &command).await {
        // Status 1 with this message says that there was none.
        Err(CommandError::Failed { said, .. }) if said.contains("0 flow entries") => Ok(()),
        other => other.map(drop),
    }
}

fn spec(setup: &Setup, id: NodeId, folder: &Path) -> NodeSpec {
    let inside = |program: &str| folder.join("bin").join(program).to_string_lossy().into_owned();
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let kubeconfig = setup.pki.path(&format!("kubelet-{id}.kubeconfig"));
    let daemons = [
        (Daemon::Containerd, vec!["containerd".into(), "-c".into(), file(node_config::CONTAINERD)]),
        (
            Daemon::Kubelet,
            vec![
                inside("kubelet"),
                format!("--config={}", file(node_config::KUBELET)),
                format!("--kubeconfig={kubeconfig}"),
                format!("--hostname-override={id}"),
                format!("--node-ip={}", id.address()),
                // Each node is a zone of its own, so that spreading over zones can be tested.
                format!("--node-labels=topology.kubernetes.io/zone=zone-{id}"),
            ],
        ),
        (
            Daemon::KubeProxy,
            vec![inside("kube-proxy"), format!("--config={}", file(node_config::KUBE_PROXY))],
        ),
    ];
    NodeSpec {
        hostname: id.to_string(),
        folder: folder.to_owned(),
        state: setup.state.clone(),
        programs: setup.programs.folder.clone(),
        daemons: daemons
            .map(|(daemon, command)| (daemon, DaemonSpec { command, log: log_of(id, daemon) }))
            .into(),
    }
}

fn log_of(node: NodeId, daemon: Daemon) -> PathBuf {
    names::log_dir().join(format!("{node}-{daemon}.log"))
}

/// The one child of a process: `unshare` has process 1 of the node for its child.
fn child_of(parent: u32) -> Option<u32> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|entry| {
        let (process, its_parent) = parent_of(&entry.path())?;
        (its_parent == parent).then_some(process)
    })
}
