//! The relay as a program follows the files that configure it: each change holds soon, and a bad one changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "program/http.rs"]
mod http;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use baton_refusal::{FAILURE, Running, USAGE, assert_refused};

const SECRET: &str = "a secret of 32 bytes that nobody may see";

fn write_certificate(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["edge".into()]).unwrap();
    fs::write(folder.join("tls.crt"), certificate.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

/// A folder with all that a relay needs, in its file alone.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["pool", "auth", "tls", "state"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("pool/current"), [1; 32]).unwrap();
    fs::write(at("auth/hs256"), SECRET).unwrap();
    write_certificate(&at("tls"));
    fs::write(at("config.yaml"), config(100)).unwrap();
    folder
}

fn config(max_sessions: usize) -> String {
    format!(
        "pool: ns/edge\nname: a\nlisten: 127.0.0.1:0\nmesh-listen: 127.0.0.1:0\nadmin-listen: 127.0.0.1:0\n\
         max-sessions: {max_sessions}\npool-keys: pool\nauth-keys: auth\nallowlist: peers\ntls: tls\nstate: state\n\
         drain-file: drain\nseeds-file: seeds\ntermination-log: message\ntermination-grace-seconds: 80\nlog: info\n"
    )
}

/// The relay with that file, and nothing of this process' environment.
fn relay(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-relay"));
    command.current_dir(folder).env_clear().args(["--config", "config.yaml"]);
    command
}

struct Relay {
    running: Running,
    admin: SocketAddr,
}

impl Relay {
    fn start(command: &mut Command, folder: &Path) -> Self {
        let running = Running::start(command.env("NO_COLOR", "1"), &folder.join("log"));
        let line = running.until_it_says("admin=");
        let admin = line.split("admin=").nth(1).unwrap().split_whitespace().next().unwrap();
        Self { admin: admin.parse().unwrap(), running }
    }

    fn get(&self, path: &str) -> String {
        http::get(self.admin, path).expect("it answers")
    }

    /// Waits until its metrics have this line.
    fn until(&self, line: &str) {
        for _ in 0..1000 {
            if self.get("/metrics").lines().any(|found| found == line) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("no {line} within 20 s, in {}", self.get("/metrics"));
    }

    fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(self.running.child());
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }
}

fn reloads(result: &str, count: usize) -> String {
    format!("baton_relay_config_reloads_total{{result=\"{result}\"}} {count}")
}

#[test]
fn a_change_holds_soon_and_a_bad_one_changes_nothing_and_is_told() {
    let folder = files();
    let at = |name: &str| folder.path().join(name);
    let mut relay = Relay::start(&mut relay(folder.path()), folder.path());
    assert!(
        relay.get("/v1/status").contains(r#""maxSessions":100"#),
        "{}",
        relay.get("/v1/status")
    );

    fs::write(at("config.yaml"), config(7)).unwrap();
    relay.until(&reloads("ok", 1));
    assert!(relay.get("/v1/status").contains(r#""maxSessions":7"#));

    fs::write(at("auth/next"), "short").unwrap();
    fs::write(at("config.yaml"), config(0)).unwrap();
    relay.until("baton_relay_config_stale 1");
    assert!(relay.get("/v1/status").contains(r#""maxSessions":7"#));
    let told = relay.running.until_it_says("still holds");
    assert!(told.contains("ERROR"), "{told}");

    fs::write(at("config.yaml"), config(8)).unwrap();
    fs::remove_file(at("auth/next")).unwrap();
    relay.until("baton_relay_config_stale 0");
    assert!(relay.get("/v1/status").contains(r#""maxSessions":8"#));

    write_certificate(&at("tls"));
    fs::write(at("auth/issuer.json"), "{").unwrap();
    relay.until("baton_relay_config_stale 1");
    fs::remove_file(at("auth/issuer.json")).unwrap();
    relay.until("baton_relay_config_stale 0");
    assert!(relay.running.is_alive());
    let log = fs::read_to_string(at("log")).unwrap();
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn a_hangup_has_the_files_read_though_nothing_changed() {
    let folder = files();
    let relay = Relay::start(&mut relay(folder.path()), folder.path());
    relay.hang_up();
    relay.until(&reloads("ok", 1));
    relay.hang_up();
    relay.until(&reloads("ok", 2));
}

#[test]
fn the_command_line_counts_before_the_environment_and_that_before_the_file() {
    for (variable, flag, wanted) in [
        (None, None, 100),
        (Some("5"), None, 5),
        (None, Some("--max-sessions=6"), 6),
        (Some("5"), Some("--max-sessions=6"), 6),
    ] {
        let folder = files();
        let mut command = relay(folder.path());
        command.envs(variable.map(|value| ("BATON_MAX_SESSIONS", value)));
        command.args(flag);
        let relay = Relay::start(&mut command, folder.path());
        let status = relay.get("/v1/status");
        assert!(status.contains(&format!(r#""maxSessions":{wanted}"#)), "{status}");
    }
}

#[test]
fn every_fault_of_the_file_is_named_at_once() {
    let folder = files();
    let path = folder.path().join("config.yaml");
    fs::write(&path, "max-sessions: lots\nlisten: here\nnonsense: 1\nconfig: other.yaml\n")
        .unwrap();
    let parts = [
        "config.yaml",
        "'max-sessions' cannot be 'lots'",
        "'listen'",
        "'nonsense'",
        "'config'",
        "--help",
    ];
    assert_refused(&mut relay(folder.path()), FAILURE, &parts, &[SECRET]);

    fs::write(&path, config(0).replace("ns/edge", "edge").replace("tls: tls", "tls: nowhere"))
        .unwrap();
    let parts = ["--max-sessions", "--pool", "nowhere/tls.crt", "nowhere/tls.key"];
    assert_refused(&mut relay(folder.path()), FAILURE, &parts, &[SECRET]);

    for (content, part) in
        [("- a\n- b\n", "no YAML of flags"), ("listen: [a, b]\n", "no YAML of flags")]
    {
        fs::write(&path, content).unwrap();
        assert_refused(&mut relay(folder.path()), FAILURE, &["config.yaml", part], &[SECRET]);
    }
    fs::remove_file(&path).unwrap();
    assert_refused(&mut relay(folder.path()), FAILURE, &["config.yaml", "No such file"], &[SECRET]);
    assert_refused(relay(folder.path()).arg("--nonsense"), FAILURE, &["config.yaml"], &[]);
    fs::write(&path, "").unwrap();
    assert_refused(&mut relay(folder.path()), USAGE, &["--pool <NS/NAME>", "--name <NAME>"], &[]);
}

#[test]
fn an_allowlist_names_every_line_that_is_wrong() {
    let folder = files();
    fs::write(folder.path().join("peers"), "alice\n# Bob\nbob\n").unwrap();
    let mut command = relay(folder.path());
    command.arg("--auth-mode=allowlist");
    let parts =
        ["line 1 of the allowlist peers", "line 3 of the allowlist peers", "baton key show"];
    assert_refused(&mut command, FAILURE, &parts, &[]);
    fs::remove_file(folder.path().join("peers")).unwrap();
    assert_refused(&mut command, FAILURE, &["the allowlist peers", "a peer id on each line"], &[]);
}
