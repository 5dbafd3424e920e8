//! The relays that are compared: each is a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use baton_client::token::{Grant, issue, now_unix};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The name in all certificates.
pub(crate) const SERVER_NAME: &str = "bench.baton.internal";

/// The pool of the relays.
pub(crate) const POOL: &str = "bench/pool";

/// A relay that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tokens outlive any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// What all relays of a run are given: certificate, keys, and a token for any peer.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: TempDir,
    /// The program of Baton's relays.
    relay: PathBuf,
    pub(crate) certificate_pem: String,
    pub(crate) token: String,
}

impl Ground {
    pub(crate) fn new(relay: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        for name in ["tls", "pool", "auth"] {
            std::fs::create_dir(path.join(name))?;
        }
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
        std::fs::write(path.join("tls/tls.crt"), made.cert.pem())?;
        std::fs::write(path.join("tls/tls.key"), made.signing_key.serialize_pem())?;
        let secret: [u8; 32] = rand::random();
        std::fs::write(path.join("pool/current"), secret)?;
        // Letters only: a secret's line end does not count, so it must not look like one.
        let secret: Vec<u8> =
            rand::random::<[u8; 48]>().iter().map(|byte| b'a' + byte % 26).collect();
        std::fs::write(path.join("auth/secret"), &secret)?;
        std::fs::write(path.join("seeds"), r#"{"pods": [], "first": true}"#)?;
        let grant =
            Grant { pool: POOL.to_owned(), peer: None, group: None, lifetime: TOKEN_LIFETIME };
        let token = issue(&grant, &secret, now_unix())?;
        Ok(Self { folder, relay, certificate_pem: made.cert.pem(), token })
    }

    pub(crate) fn tls(&self) -> PathBuf {
        self.folder.path().join("tls")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A running relay of whichever kind; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One of this program's own: `arguments` say which.
    pub(crate) fn own(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {arguments:?}"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse();
        // It is a process from here on, so that it is killed if it has said nothing.
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into() };
        process.address = address.with_context(|| {
            format!("{arguments:?} said '{}' instead of where it listens", line.trim())
        })?;
        Ok(process)
    }

    pub(crate) fn forwarder() -> anyhow::Result<Self> {
        Self::own(&["udp-forwarder"])
    }

    pub(crate) fn quinn_loop(ground: &Ground) -> anyhow::Result<Self> {
        let tls = ground.tls();
        Self::own(&[
            "quinn-loop",
            tls.to_str().context("the folder for temporary files has no name in UTF-8")?,
        ])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; whoever measured it has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a relay is told whom to let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    Open,
    Token,
}

/// A `baton-relay`.
#[derive(Debug)]
pub(crate) struct Baton {
    pub(crate) process: Process,
    admin: SocketAddr,
    drain: PathBuf,
}

impl Baton {
    /// Starts one, and waits until it is ready.
    pub(crate) async fn start(ground: &Ground, auth: Auth, name: &str) -> anyhow::Result<Self> {
        Self::start_program(&ground.relay, ground, auth, name).await
    }

    /// The same, of another program.
    pub(crate) async fn start_program(
        program: &Path,
        ground: &Ground,
        auth: Auth,
        name: &str,
    ) -> anyhow::Result<Self> {
        let (listen, mesh, admin) = (free_udp()?, free_udp()?, free_tcp()?);
        let drain = ground.path(&format!("drain-{name}"));
        std::fs::write(&drain, "")?;
        let auth = match auth {
            Auth::Open => "open",
            Auth::Token => "token",
        };
        let child = Command::new(program)
            .args(["--pool", POOL, "--name", name, "--auth-mode", auth, "--max-sessions", "100000"])
            // They are all on, and none is met.
            .args(["--limit-handshakes=100000", "--limit-attachments-per-peer=100000"])
            .args(["--limit-session-datagrams=10000000", "--limit-session-bytes=10000000000"])
            .args(["--listen", &listen.to_string(), "--mesh-listen", &mesh.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(folder("--pool-keys", &ground.path("pool")))
            .args(folder("--auth-keys", &ground.path("auth")))
            .args(folder("--tls", &ground.tls()))
            .args(folder("--seeds-file", &ground.path("seeds")))
            .args(folder("--drain-file", &drain))
            .args(folder("--state", &ground.path("state")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It logs as it does anywhere, and that is part of what it costs.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let relay = Self { process: Process { child, address: listen }, admin, drain };
        let end = Instant::now() + PATIENCE;
        while relay.get("/readyz").await.is_err() {
            if Instant::now() > end {
                bail!(
                    "{} is not ready within {} s: run it by hand to see why",
                    program.display(),
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(relay)
    }

    /// Writes the shutdown flag, or empties it, as kubelet does: at once.
    pub(crate) fn set_flag(&self, content: &str) -> anyhow::Result<()> {
        let new = self.drain.with_extension("new");
        std::fs::write(&new, content)?;
        Ok(std::fs::rename(new, &self.drain)?)
    }

    /// What it says of itself.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get("/v1/status").await?)?)
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{path}: {}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }
}

fn folder<'a>(flag: &'a str, path: &'a Path) -> [&'a std::ffi::OsStr; 2] {
    [flag.as_ref(), path.as_ref()]
}

/// A port that is free now. Another process may take it before it is used: then the relay is not ready, and says so.
fn free_udp() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

fn free_tcp() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
