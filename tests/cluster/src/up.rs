//! `up` and `down`: starting the supervisor, or finding that it runs.

use std::fs;
use std::io::{self, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use baton_cluster::cgroup::Cgroups;
use baton_cluster::control::{Ask, ClusterStatus, Connection, ControlError, Shape};
use baton_cluster::kube_program::KubeProgram;
use baton_cluster::leftovers::{self, Leftovers};
use baton_cluster::preflight::{self, Machine, PreflightError};
use baton_cluster::supervisor::{self, DETACH, Event};
use baton_cluster::{names, run};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

const LOCK_POLL: Duration = Duration::from_millis(200);

/// How long the supervisor's process may take to be gone after it said that all else is.
const EXIT_DEADLINE: Duration = Duration::from_secs(10);

/// How the cluster is to be started.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) shape: Shape,
    pub(crate) install_packages: bool,
    pub(crate) attached: bool,
    /// How long another `up` or `down` may hold the lock before we give up on it.
    pub(crate) wait: Duration,
}

impl Up {
    /// Brings the cluster up, or finds that it is.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let programs = prepare(self.install_packages).await?;
        let waiting_since = Instant::now();
        loop {
            if let Some(()) = self.is_up().await? {
                return Ok(());
            }
            match self.start().await? {
                Started::Up(supervisor) => {
                    let elapsed = waiting_since.elapsed().as_secs_f64();
                    say(&format!("Kubernetes {} is up after {elapsed:.1} s", programs.version));
                    say("to use it from this shell: eval \"$(make -s cluster-env)\"");
                    return self.let_go(supervisor).await;
                }
                // Somebody else's `up` or `down` is at work: see what comes of it.
                Started::Locked(holder) => self.wait_for_the_other(holder, waiting_since).await?,
            }
        }
    }

    /// Waits until a cluster is up or the lock is free, which is tried at least once more.
    async fn wait_for_the_other(&self, holder: Option<u32>, since: Instant) -> anyhow::Result<()> {
        loop {
            if since.elapsed() > self.wait {
                let who = holder.map(|id| format!(" (process {id})")).unwrap_or_default();
                bail!("another cluster is starting or ending{who}; only one can be up");
            }
            tokio::time::sleep(LOCK_POLL).await;
            if Connection::open().await.is_ok() || !supervisor::is_locked()? {
                return Ok(());
            }
        }
    }

    /// Is a cluster up already? One of another shape is an error.
    async fn is_up(&self) -> anyhow::Result<Option<()>> {
        let shape = match status().await {
            // A supervisor that dies while we talk is not up either.
            Err(ControlError::NotUp | ControlError::Io(_)) => return Ok(None),
            status => status?.shape,
        };
        if shape != self.shape {
            bail!(
                "a cluster of another shape is up ({} nodes, {}, port {}): take it down first \
                 (`make cluster-down`)",
                shape.nodes,
                shape.proxy_mode,
                shape.api_port
            );
        }
        if self.attached {
            bail!("a cluster is up already: take it down first (`make cluster-down`)");
        }
        say("already up");
        Ok(Some(()))
    }

    async fn start(&self) -> anyhow::Result<Started> {
        let mut supervisor = Command::new(std::env::current_exe()?)
            .arg("supervise")
            .arg(serde_json::to_string(&self.shape)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the supervisor")?;
        let events = supervisor.stdout.take().context("the supervisor has no output")?;
        let mut events = BufReader::new(events).lines();
        while let Some(line) = events.next_line().await? {
            match serde_json::from_str(&line).with_context(|| line.clone())? {
                Event::Step(step) => say(&step),
                Event::Ready => return Ok(Started::Up(supervisor)),
                Event::Locked(holder) => {
                    supervisor.wait().await?;
                    return Ok(Started::Locked(holder));
                }
                Event::Failed(why) => {
                    // It removes what it made: whoever hears of the failure may try again at once.
                    supervisor.wait().await?;
                    bail!("the cluster did not come up: {why}")
                }
            }
        }
        let output = supervisor.wait_with_output().await?;
        bail!("the supervisor ended: {}", String::from_utf8_lossy(&output.stderr).trim())
    }

    /// Leaves the supervisor to itself; or, attached, stays until our own input ends, and takes the
    /// cluster down.
    async fn let_go(&self, mut supervisor: Child) -> anyhow::Result<()> {
        let mut order = supervisor.stdin.take().context("the supervisor has no input")?;
        if self.attached {
            let input_ends =
                tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
            tokio::select! {
                _ = input_ends => {}
                status = supervisor.wait() => bail!("the supervisor ended: {}", status?),
            }
            drop(order);
            supervisor.wait().await?;
            return Ok(());
        }
        order.write_all(format!("{DETACH}\n").as_bytes()).await?;
        Ok(())
    }
}

/// Makes the machine ready: packages, and the Kubernetes programs.
pub(crate) async fn prepare(install_packages: bool) -> anyhow::Result<KubeProgram> {
    let machine = prepare_machine(install_packages).await?;
    say(&format!("machine: {}", machine.cgroups));
    Ok(KubeProgram::get(say).await?)
}

enum Started {
    Up(Child),
    Locked(Option<u32>),
}

/// Takes the cluster down, or removes what a killed one left. Nothing to do is no error.
pub(crate) async fn down() -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        match end().await {
            Ok(supervisor) => {
                wait_for_end(supervisor).await?;
                say("down");
                return Ok(());
            }
            Err(ControlError::NotUp) if remove_leftovers().await? => return Ok(()),
            // It is dying, or just starting or ending: what it leaves is removed once it is gone.
            Err(ControlError::NotUp | ControlError::Io(_)) if started.elapsed() < EXIT_DEADLINE => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(ControlError::NotUp) => {
                let holder = fs::read_to_string(names::state_dir().join("supervisor.pid"));
                bail!(
                    "a cluster is starting or ending (process {}): try again, or end that process",
                    holder.unwrap_or_default().trim()
                )
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn status() -> Result<ClusterStatus, ControlError> {
    Connection::open().await?.status().await
}

/// Asks the supervisor to end the cluster; returns its process once that is done.
async fn end() -> Result<i32, ControlError> {
    let mut connection = Connection::open().await?;
    // Not by its status, which waits for an API server that may be frozen.
    let supervisor = connection.supervisor()?;
    connection.ask_for_good(Ask::Down).await?;
    Ok(supervisor)
}

async fn wait_for_end(process: i32) -> anyhow::Result<()> {
    let started = Instant::now();
    // It is our caller's child, or nobody's who reaps.
    while leftovers::is_running(process) {
        if started.elapsed() > EXIT_DEADLINE {
            bail!("the supervisor (process {process}) does not end");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Removes what a killed cluster left; `false` where a supervisor holds the lock.
async fn remove_leftovers() -> anyhow::Result<bool> {
    let cgroups = Cgroups::detect()?;
    let left = Leftovers::find(&cgroups);
    if left.is_empty() {
        say("nothing is up");
        return Ok(true);
    }
    let removed = leftovers::remove_all(&cgroups).await?;
    if removed {
        say(&format!("removed what a killed cluster left: {left}"));
    }
    Ok(removed)
}

/// Checks the machine, and installs what is missing where that was asked for and is possible.
async fn prepare_machine(install: bool) -> anyhow::Result<Machine> {
    match preflight::check() {
        Err(PreflightError { not_root: false, packages, cgroups: None })
            if install && !packages.is_empty() && run::is_installed("apt-get") =>
        {
            say(&format!("installing {}", packages.join(" ")));
            let quiet = ["-q", "-y", "--no-install-recommends"];
            run::run("apt-get", ["update", "-q"]).await?;
            let install = ["install"].into_iter().chain(quiet).chain(packages);
            let environment = ["DEBIAN_FRONTEND=noninteractive", "apt-get"];
            run::run("env", environment.into_iter().chain(install)).await?;
            Ok(preflight::check()?)
        }
        checked => Ok(checked?),
    }
}

/// Progress is for people; standard output is for scripts.
fn say(what: &str) {
    // Whoever started us may not listen any more, but may still want the cluster.
    let _ = writeln!(io::stderr(), "{what}");
}
