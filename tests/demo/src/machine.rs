//! A machine outside the cluster, and what runs on it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use baton_tests::outside::Outside;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::files::Files;

/// Where the web server listens, on its machine.
pub(crate) const WEB: &str = "127.0.0.1:8000";

/// Where the service is on the other machine.
pub(crate) const LOCAL: &str = "127.0.0.1:9000";

/// How long a program may take until it says that it is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine outside; it goes with the demo.
#[derive(Debug)]
pub(crate) struct Machine {
    outside: Outside,
}

impl Machine {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Ok(Self { outside: Outside::create().await })
    }

    /// A command on this machine. It ends with the demo.
    pub(crate) fn command(&self, program: PathBuf) -> anyhow::Result<Command> {
        let namespace =
            self.outside.namespace().context("the demo needs the cluster of this repository")?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace]).arg(program);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Starts the web server.
    pub(crate) fn serve(&self, files: &Files, bytes_per_second: u64) -> anyhow::Result<Child> {
        let mut command = self.command(std::env::current_exe()?)?;
        command.arg("serve").arg(files.original()).args(["--listen", WEB]);
        command.args(["--bytes-per-second", &bytes_per_second.to_string()]);
        command.spawn().context("the web server")
    }

    /// Lets peers reach the web server; returns what to call it.
    pub(crate) async fn expose(&self, files: &Files) -> anyhow::Result<(Child, String)> {
        let arguments = ["expose", "tcp", WEB, "--as", "web"];
        self.baton(files, "expose.log", &arguments).await
    }

    /// Brings the service to this machine.
    pub(crate) async fn forward(&self, files: &Files, service: &str) -> anyhow::Result<Child> {
        Ok(self.baton(files, "forward.log", &["forward", LOCAL, service]).await?.0)
    }

    /// Starts `baton`, and waits for its first line, which says that it is there.
    async fn baton(
        &self,
        files: &Files,
        log: &str,
        arguments: &[&str],
    ) -> anyhow::Result<(Child, String)> {
        let key = files.path(&format!("{log}.key"));
        let baton = std::env::current_exe()?.with_file_name("baton");
        let made = Command::new(&baton).args(["key", "new", "--out"]).arg(&key).output().await?;
        anyhow::ensure!(
            made.status.success(),
            "baton key new: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut command = self.command(baton)?;
        command.args(arguments).arg("--key").arg(&key);
        command.arg("--profile").arg(files.path("profile.json"));
        command.arg("--token-file").arg(files.path("token"));
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(files.path(log))?);
        let mut child = command.spawn().context("baton")?;
        let out = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok((child, line)),
            _ => {
                let said = std::fs::read_to_string(files.path(log)).unwrap_or_default();
                anyhow::bail!("baton {} does not come up: {said}", arguments.join(" "))
            }
        }
    }
}
