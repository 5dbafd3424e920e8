//! A relay's pod, as far as a process needs one: an address, files, and a folder that outlives the process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http, pool};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Machine {
    name: String,
    ip: IpAddr,
    folder: TempDir,
    process: Option<Child>,
}

impl Machine {
    /// Each has a loopback address of its own, so that all ports are the usual ones: seeds name no port. The process id
    /// keeps runs side by side apart.
    pub(crate) fn new(number: u8) -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 100 + number, high, low).into();
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { name: format!("relay-{number}"), ip, folder, process: None };
        let made = pool::made();
        fs::write(machine.path("current"), [7; 32]).unwrap();
        fs::write(machine.path("tls.crt"), made.cert.pem()).unwrap();
        fs::write(machine.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        // As Kubernetes does.
        fs::write(machine.path("termination-log"), "").unwrap();
        machine
    }

    /// Where clients come in.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 4443)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// What the operator wrote when the pod was made.
    pub(crate) fn seeds(&self, others: &[&Self]) {
        let pods: Vec<_> =
            others.iter().map(|other| json!({"name": other.name, "ip": other.ip})).collect();
        let seeds = json!({"first": pods.is_empty(), "pods": pods});
        fs::write(self.path("seeds"), seeds.to_string()).unwrap();
    }

    pub(crate) fn start(&mut self) {
        let at = |port: u16| SocketAddr::new(self.ip, port).to_string();
        let flag = |name: &str, value: String| format!("--{name}={value}");
        let file = |name: &str| self.path(name).display().to_string();
        let process = Command::new(env!("CARGO_BIN_EXE_baton-relay"))
            .args(["--pool=tests/edge", "--auth-mode=open", "--log=warn"])
            .args([flag("name", self.name.clone()), flag("advertise", self.ip.to_string())])
            .args([flag("listen", at(4443)), flag("mesh-listen", at(4444))])
            .args([flag("admin-listen", at(9100))])
            .args(["pool-keys", "auth-keys", "tls", "state"].map(|name| flag(name, file(""))))
            .args([flag("seeds-file", file("seeds")), flag("drain-file", file("drain"))])
            .arg(flag("termination-log", file("termination-log")))
            .stdin(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
    }

    /// Waits for its end, and gives what it left as its last word.
    pub(crate) fn exit(&mut self) -> (ExitStatus, Value) {
        let mut process = self.process.take().expect("it runs");
        let status = process.wait().unwrap();
        let message = fs::read(self.path("termination-log")).unwrap();
        (status, serde_json::from_slice(&message).unwrap())
    }

    fn get(&self, path: &str) -> Option<String> {
        http::get(SocketAddr::new(self.ip, 9100), path)
    }

    pub(crate) fn links(&self) -> u64 {
        let status = self.get("/v1/status").expect("it answers");
        let status: Value = serde_json::from_str(&status).unwrap();
        status["mesh"]["links"].as_u64().unwrap()
    }

    pub(crate) fn has_kept_siblings(&self) -> bool {
        fs::read_to_string(self.path("siblings")).is_ok_and(|kept| kept.contains(":4444"))
    }

    pub(crate) fn until_ready(&self) {
        self.until("it is ready", |machine| machine.get("/readyz").is_some());
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "{}: not seen that {what}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
