//! The command `baton`, as people use it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::fleet::{Fleet, POOL, SECRET, token};

pub(crate) fn baton(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).env_remove("BATON_TOKEN").kill_on_drop(true);
    // Nothing of a test is found by `baton status`, unless it says so.
    command.env("XDG_RUNTIME_DIR", "/nonexistent");
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Output {
    tokio::time::timeout(Duration::from_secs(30), baton(arguments).output()).await.unwrap().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// A command that runs on, and its first line.
pub(crate) async fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = baton(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line =
        tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap();
    (child, line.expect("a line"))
}

pub(crate) fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("profile.json"),
            fleet.profile_json(&fleet.addresses(), ""),
        )
        .unwrap();
        std::fs::write(folder.path().join("token"), token()).unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        Path::join(self.folder.path(), name).to_string_lossy().into_owned()
    }
}

#[tokio::test]
async fn a_key_file_in_use_is_refused_with_the_pid() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let (key, profile, token) =
        (files.path("key"), files.path("profile.json"), files.path("token"));
    let made = run(&["key", "new", "--out", &key]).await;
    assert!(made.status.success());
    let again = run(&["key", "new", "--out", &key]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is not overwritten"), "{}", text(&again.stderr));
    assert_eq!(text(&run(&["key", "show", &key]).await.stdout), text(&made.stdout));

    let expose = [
        "expose",
        "tcp",
        "127.0.0.1:9",
        "--as",
        "x",
        "--profile",
        &profile,
        "--token-file",
        &token,
        "--key",
        &key,
    ];
    let (mut first, line) = start(&expose).await;
    assert_eq!(line, format!("{}/x", text(&made.stdout)));
    let second = run(&expose).await;
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("in use by process {}", first.id().unwrap())), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    interrupt(&first);
    let ended = tokio::time::timeout(Duration::from_secs(10), first.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "Ctrl-C is no failure: {ended}");
    fleet.stop().await;
}

/// Exposes a listener of this test and forwards to it: two processes and the local address.
async fn tunnel(files: &Files, to: &TcpListener) -> (Child, Child, String) {
    let (key, profile, token) =
        (files.path("key"), files.path("profile.json"), files.path("token"));
    run(&["key", "new", "--out", &key]).await;
    let to = to.local_addr().unwrap().to_string();
    let (expose, target) = start(&[
        "expose",
        "tcp",
        &to,
        "--as",
        "web",
        "--profile",
        &profile,
        "--token-file",
        &token,
        "--key",
        &key,
    ])
    .await;
    let (forward, local) =
        start(&["forward", "127.0.0.1:0", &target, "--profile", &profile, "--token-file", &token])
            .await;
    (expose, forward, local)
}

#[tokio::test]
async fn tcp_goes_through_whole_with_its_half_closes_and_resets() {
    let fleet = Fleet::start(2).await;
    let files = Files::new(&fleet);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (expose, forward, local) = tunnel(&files, &listener).await;

    // A half-close goes through, and the answer to it comes back whole.
    let mut near = TcpStream::connect(&local).await.unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut far, _) = listener.accept().await.unwrap();
    let echo = tokio::spawn(async move {
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        far.write_all(&all).await.unwrap();
    });
    let (mut near_read, mut near_write) = near.split();
    let out = async {
        near_write.write_all(&sent).await.unwrap();
        near_write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let all = async { tokio::join!(out, near_read.read_to_end(&mut back)).1.unwrap() };
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
    echo.await.unwrap();

    // A reset at either end is a reset at the other, never an end.
    for from_near in [true, false] {
        let near = TcpStream::connect(&local).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (broken, mut other) = if from_near { (near, far) } else { (far, near) };
        broken.set_zero_linger().unwrap();
        drop(broken);
        let mut byte = [0];
        let read =
            tokio::time::timeout(Duration::from_secs(10), other.read(&mut byte)).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }

    // Nobody behind the name: a reset, not an answer without content.
    drop(listener);
    let mut near = TcpStream::connect(&local).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), near.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    drop((expose, forward));
    fleet.stop().await;
}

#[tokio::test]
async fn ping_says_by_which_relay_and_how_long() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let peer = fleet.client(2, &[0]).await;
    let (profile, token) = (files.path("profile.json"), files.path("token"));
    let ping = |peer: String| {
        let (profile, token) = (profile.clone(), token.clone());
        async move {
            run(&["ping", &peer, "-c", "2", "--profile", &profile, "--token-file", &token]).await
        }
    };
    let there = ping(peer.peer().to_string()).await;
    assert!(there.status.success(), "{}", text(&there.stderr));
    assert_eq!(
        text(&there.stdout).matches(&fleet.relays[0].id().to_string()).count(),
        2,
        "{}",
        text(&there.stdout)
    );
    let stranger = baton_client::Identity::from_seed([9; 32]).peer().to_string();
    let away = ping(stranger).await;
    assert_eq!(away.status.code(), Some(1));
    assert!(text(&away.stderr).contains("not attached"), "{}", text(&away.stderr));
    peer.close().await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_token_that_was_issued_opens_the_pool() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let peer = fleet.client(2, &[0]).await;
    let secret = files.path("secret");
    let issue = [
        "token",
        "issue",
        "--secret-file",
        &secret,
        "--pool",
        POOL,
        "--any-peer",
        "--group",
        "team",
    ];
    let issued = run(&issue).await;
    assert!(issued.status.success());
    let mut ping = baton(&[
        "ping",
        &peer.peer().to_string(),
        "-c",
        "1",
        "--profile",
        &files.path("profile.json"),
    ]);
    let with_token = ping.env("BATON_TOKEN", text(&issued.stdout)).output().await.unwrap();
    assert!(with_token.status.success(), "{}", text(&with_token.stderr));
    let without = run(&[
        "ping",
        &peer.peer().to_string(),
        "-c",
        "1",
        "--profile",
        &files.path("profile.json"),
    ])
    .await;
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("token_required"), "{}", text(&without.stderr));
    peer.close().await;
    fleet.stop().await;
}
