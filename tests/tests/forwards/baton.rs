//! The command, built as users have it, as processes that run on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use baton_tests::fleet::Fleet;
use baton_tests::programs::{build, named};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, built once for each test process.
async fn program() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build =
        async || named("baton", &build(&["--package", "baton-client", "--bin", "baton"]).await);
    BUILT.get_or_init(build).await
}

/// Where processes have their files: the pool's profile, and the sockets by which they are asked.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("profile.json"), fleet.profile()).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program().await);
        command.args(arguments).kill_on_drop(true).stdout(Stdio::piped());
        command.env("BATON_PROFILE", self.path("profile.json"));
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    /// Starts the command.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Baton {
        let mut child = self.command(arguments).await.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Baton { child, lines }
    }

    /// What `baton status` says of a process.
    pub(crate) async fn status(&self, baton: &Baton) -> Value {
        let pid = baton.child.id().expect("it runs").to_string();
        let output = self.command(&["status", "--json", &pid]).await.output().await.unwrap();
        serde_json::from_slice(&output.stdout).expect("the process can be asked")
    }
}

/// The command, running.
pub(crate) struct Baton {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Baton {
    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> String {
        self.line_within(PATIENCE).await
    }

    pub(crate) async fn line_within(&mut self, patience: Duration) -> String {
        let line = tokio::time::timeout(patience, self.lines.next_line()).await;
        line.expect("a line in time").unwrap().expect("a line")
    }

    /// Waits until it has ended, well.
    pub(crate) async fn ends(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
