//! The verbs of the command that run on, and what can be asked of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, ChildStdout};

use crate::command::{Files, baton, interrupt, run, text};
use crate::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(20);

/// A command that runs on, in a runtime folder of its own, and its lines.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(runtime: &Path, arguments: &[&str]) -> Self {
        let mut command = baton(arguments);
        command.env("XDG_RUNTIME_DIR", runtime).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("a line in time").unwrap().expect("a line")
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn ends(mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

/// The processes that `baton status` finds.
async fn status(runtime: &Path, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let mut command = baton(&[&["status", "--json"], arguments].concat());
    let output = command.env("XDG_RUNTIME_DIR", runtime).output().await.unwrap();
    let lines = text(&output.stdout);
    let found = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), found, text(&output.stderr))
}

#[tokio::test]
async fn one_process_carries_what_one_file_says_and_can_be_asked_how_it_is() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let runtime = tempfile::tempdir().unwrap();
    let [(web, web_at), (_idle, idle_at)] = [listener().await, listener().await];
    let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns_at = dns.local_addr().unwrap();
    run(&["key", "new", "--out", &files.path("key")]).await;
    let head = "profile: profile.json\ntokenFile: token\n";
    let expose = format!(
        "{head}key: key\nexpose:\n  - {{name: web, tcp: '{web_at}'}}\n  - {{name: other, tcp: '{idle_at}'}}\n  \
         - {{name: web, udp: '{dns_at}'}}\n"
    );
    std::fs::write(files.path("expose.yaml"), expose).unwrap();
    let mut exposing = Running::start(runtime.path(), &["run", &files.path("expose.yaml")]);
    let targets = [exposing.line().await, exposing.line().await, exposing.line().await];
    assert!(targets[1].ends_with("/other"), "{targets:?}");
    let to = &targets[0];
    let forward = format!(
        "{head}drain: 60s\nforward:\n  - {{to: {to}, tcp: '127.0.0.1:0'}}\n  - {{to: {to}, udp: '127.0.0.1:0'}}\n"
    );
    std::fs::write(files.path("forward.yaml"), forward).unwrap();
    let check = run(&["run", "--check", &files.path("forward.yaml")]).await;
    assert!(check.status.success(), "{}", text(&check.stderr));
    let mut forwarding = Running::start(runtime.path(), &["run", &files.path("forward.yaml")]);
    let (tcp, udp) = (forwarding.line().await, forwarding.line().await);

    // Both go to where they should, beside each other.
    let mut near = TcpStream::connect(&tcp).await.unwrap();
    let (mut far, _) = web.accept().await.unwrap();
    near.write_all(b"over TCP").await.unwrap();
    let mut bytes = [0; 8];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"over TCP");
    let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut bytes = [0; 100];
    let asked = async {
        loop {
            caller.send_to(b"over UDP", &udp).await.unwrap();
            let came = dns.recv_from(&mut bytes);
            if let Ok(Ok((8, _))) = tokio::time::timeout(Duration::from_millis(500), came).await {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(&bytes[..8], b"over UDP");

    // Both can be asked, by their own user and nobody else.
    let (code, found, _) = status(runtime.path(), &[]).await;
    assert_eq!((code, found.len()), (0, 2));
    let pid = forwarding.child.id().unwrap();
    let (_, found, _) = status(runtime.path(), &[&pid.to_string()]).await;
    let relay = &fleet.relays[0];
    assert_eq!(found[0]["pid"], pid);
    assert_eq!(found[0]["verb"], "run");
    assert_eq!(found[0]["relay"], relay.id().to_string());
    assert_eq!(found[0]["path"]["remote"], relay.address().to_string());
    assert_eq!(found[0]["active"], 1);
    for count in ["handovers", "migrations", "resumes"] {
        assert_eq!(found[0][count], 0);
    }
    let folder = runtime.path().join("baton");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(format!("{pid}.sock"))), 0o600);

    // It ends when the connection that is active does, and takes its socket with it.
    // What knocks before the port is shut is a connection as any other, and its end must come.
    let answering = tokio::spawn(async move { while web.accept().await.is_ok() {} });
    interrupt(&forwarding.child);
    goes_on(&tcp, &mut near, &mut far).await;
    assert!(forwarding.child.try_wait().unwrap().is_none());
    drop((near, far));
    forwarding.ends().await;
    answering.abort();
    // One that was killed leaves its socket, and is not found all the same.
    exposing.child.kill().await.unwrap();
    let (code, found, said) = status(runtime.path(), &[]).await;
    assert_eq!((code, found.len()), (1, 0));
    assert!(said.contains("no `baton` of yours runs"), "{said}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    fleet.stop().await;
}

#[tokio::test]
async fn whoever_says_stop_twice_does_not_wait() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let runtime = tempfile::tempdir().unwrap();
    let (web, web_at) = listener().await;
    let pool = ["--profile", &files.path("profile.json"), "--token-file", &files.path("token")];
    let to = web_at.to_string();
    let expose = [&["expose", "tcp", &to, "--as", "web"][..], &pool].concat();
    let mut exposing = Running::start(runtime.path(), &expose);
    let target = exposing.line().await;
    let forward = [&["forward", "127.0.0.1:0", &target, "--drain", "1h"][..], &pool].concat();
    let mut forwarding = Running::start(runtime.path(), &forward);
    let local = forwarding.line().await;
    let mut near = TcpStream::connect(&local).await.unwrap();
    let (mut far, _) = web.accept().await.unwrap();
    interrupt(&forwarding.child);
    goes_on(&local, &mut near, &mut far).await;
    assert!(forwarding.child.try_wait().unwrap().is_none(), "the first lets it drain");
    interrupt(&forwarding.child);
    forwarding.ends().await;
    let cut = near.read(&mut [0]).await.unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
    fleet.stop().await;
}

#[tokio::test]
async fn a_file_goes_by_the_command_and_is_told_to_programs() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let runtime = tempfile::tempdir().unwrap();
    let to = tempfile::tempdir().unwrap();
    let pool = ["--profile", &files.path("profile.json"), "--token-file", &files.path("token")];
    let folder = to.path().to_string_lossy().into_owned();
    let receive = [&["receive", &folder, "--once", "--json"][..], &pool].concat();
    let mut receiving = Running::start(runtime.path(), &receive);
    let peer = receiving.json().await["peer"].as_str().unwrap().to_owned();
    let content = vec![7; 2_000_000];
    std::fs::write(files.path("a file"), &content).unwrap();
    let path = files.path("a file");
    let send = [&["send", &path, &peer, "--json"][..], &pool].concat();
    let sent = run(&send).await;
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let sent: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!((&sent["bytes"], &sent["resumedAt"]), (&2_000_000.into(), &0.into()));
    assert_eq!(receiving.json().await["begun"], "a file");
    assert_eq!(receiving.json().await["sha256"], sent["sha256"]);
    receiving.ends().await;
    assert!(std::fs::read(to.path().join("a file")).unwrap() == content);
    fleet.stop().await;
}

#[tokio::test]
async fn ping_tells_programs_too() {
    let fleet = Fleet::start(1).await;
    let files = Files::new(&fleet);
    let peer = fleet.client(2, &[0]).await;
    let pool = ["--profile", &files.path("profile.json"), "--token-file", &files.path("token")];
    let id = peer.peer().to_string();
    let output = run(&[&["ping", &id, "-c", "1", "--json"][..], &pool].concat()).await;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["relay"], fleet.relays[0].id().to_string());
    assert!(said["ms"].as_f64().unwrap() > 0.0 && said["relayMs"].as_f64().unwrap() > 0.0);
    peer.close().await;
    let output = run(&[&["ping", &id, "-c", "1", "--json"][..], &pool].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["error"].as_str().unwrap().contains("not attached"), "{said}");
    fleet.stop().await;
}

#[tokio::test]
async fn completions_know_the_verbs_of_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(&["completions", shell]).await.stdout);
        for word in ["receive", "expose", "drain", "profile"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// The port of a forward is shut, so its drain has begun; and still what is open goes on.
async fn goes_on(port: &str, near: &mut TcpStream, far: &mut TcpStream) {
    let shut = async {
        while TcpStream::connect(port).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shut).await.expect("the port is shut");
    for _ in 0..50 {
        let mut bytes = [0; 5];
        near.write_all(b"there").await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
        far.write_all(b"again").await.unwrap();
        near.read_exact(&mut bytes).await.unwrap();
    }
}

async fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
