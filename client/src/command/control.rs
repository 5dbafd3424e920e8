//! The socket by which a running process is asked how it is: in a folder of its user's alone.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use baton_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::report::Report;

/// How long whoever asks may take, and whoever is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest answer.
const ANSWER: u64 = 64 * 1024;

const PAUSE: Duration = Duration::from_millis(100);

/// The socket of this process; it goes with this.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    _task: JoinSet<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        // What stays is found to be of nobody by whoever asks next.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Control {
    /// Answers for `client`. Where there can be no socket the process does its work without.
    pub(crate) fn start(client: &Client, verb: &'static str) -> Option<Self> {
        match Self::listen(client.clone(), verb) {
            Ok(control) => Some(control),
            Err(error) => {
                tracing::warn!(%error, "`baton status` will not see this process");
                None
            }
        }
    }

    fn listen(client: Client, verb: &'static str) -> io::Result<Self> {
        let path = folder()?.join(format!("{}.sock", std::process::id()));
        // An earlier process with our number may have left it.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        // Until here, the folder keeps others out.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((mut asking, _)) => {
                        let report = Report::of(&client, verb);
                        let json = serde_json::to_vec(&report).unwrap_or_default();
                        // Whoever does not read it has no answer.
                        let _ = tokio::time::timeout(PATIENCE, asking.write_all(&json)).await;
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        Ok(Self { path, _task: task })
    }
}

/// The processes of this user that can be asked, or the one with this number.
pub(crate) async fn ask(pid: Option<u32>) -> io::Result<Vec<Report>> {
    let sockets = tokio::task::spawn_blocking(move || sockets(pid)).await;
    let mut reports = Vec::new();
    for path in sockets.map_err(io::Error::other)?? {
        let answer = async {
            let mut json = Vec::new();
            let mut stream = UnixStream::connect(&path).await?.take(ANSWER);
            stream.read_to_end(&mut json).await?;
            serde_json::from_slice(&json).map_err(io::Error::from)
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(report)) => reports.push(report),
            // Its process is gone, and could not clean up.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = std::fs::remove_file(&path);
            }
            Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "no answer"),
            Err(_) => tracing::warn!(path = %path.display(), "no answer in time"),
        }
    }
    reports.sort_by_key(|report: &Report| report.pid);
    Ok(reports)
}

fn sockets(pid: Option<u32>) -> io::Result<Vec<PathBuf>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(folder()?)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
        if number.is_some() && (pid.is_none() || pid == number) {
            sockets.push(path);
        }
    }
    Ok(sockets)
}

/// The folder of this user's sockets. It is made if it is not there, and is nobody else's.
fn folder() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join("baton"),
        _ => std::env::temp_dir().join(format!("baton-{user}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} is not a folder that only this user can enter: remove it",
            folder.display()
        )));
    }
    Ok(folder)
}
