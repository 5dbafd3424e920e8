//! Two relays of a pool, linked, each a process with addresses and files of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_tests::until::until;
use baton_tests::{admin, programs};
use serde_json::json;
use tempfile::TempDir;

const POOL: &str = "interop/edge";
const SERVER_NAME: &str = "edge.interop.baton.internal";
const SECRET: &[u8] = b"a secret for tests, of thirty-two bytes or more";

/// A relay that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the [module](self).
pub(crate) struct Ground {
    relays: Vec<Relay>,
    baton: PathBuf,
    folder: TempDir,
}

struct Relay {
    process: Child,
    ip: IpAddr,
    drain: PathBuf,
}

impl Ground {
    /// Starts them, and waits until they are linked.
    pub(crate) async fn lay() -> Self {
        let built =
            programs::build(&["--package", "baton-relay", "--package", "baton-client"]).await;
        let folder = tempfile::tempdir().unwrap();
        pool(folder.path());
        let mut ground =
            Self { relays: Vec::new(), baton: programs::named("baton", &built), folder };
        // Loopback addresses of their own, so that ports are the usual ones. The process id keeps runs side by side apart.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        for network in [91, 92] {
            let ip = Ipv4Addr::new(127, network, high, low).into();
            let relay = ground.start(&programs::named("baton-relay", &built), ip);
            let ready = || admin::get(SocketAddr::new(ip, 9100), "/readyz").is_some();
            ground.relays.push(relay);
            // One that has seeds is ready when it is linked to them.
            until("the relay is ready", PATIENCE, ready).await;
        }
        ground
    }

    fn start(&self, program: &Path, ip: IpAddr) -> Relay {
        let folder = self.folder.path().join(ip.to_string());
        let file = |name: &str| folder.join(name);
        fs::create_dir_all(file("state")).unwrap();
        let pods: Vec<_> = self.relays.iter().map(|relay| json!({"ip": relay.ip})).collect();
        let seeds = json!({"first": pods.is_empty(), "pods": pods});
        fs::write(file("seeds"), seeds.to_string()).unwrap();
        fs::write(file("drain"), "").unwrap();
        let at = |port: u16| SocketAddr::new(ip, port).to_string();
        let of_pool = |name: &str| self.folder.path().join(name).display().to_string();
        let mine = |name: &str| file(name).display().to_string();
        let flags = [
            ("pool", POOL.to_owned()),
            ("name", format!("relay-{ip}")),
            ("advertise", ip.to_string()),
            ("listen", at(4443)),
            ("mesh-listen", at(4444)),
            ("admin-listen", at(9100)),
            ("pool-keys", of_pool("pool")),
            ("auth-keys", of_pool("auth")),
            ("tls", of_pool("tls")),
            ("seeds-file", mine("seeds")),
            ("drain-file", mine("drain")),
            ("state", mine("state")),
            ("termination-log", mine("end")),
        ];
        // If this process is killed they end with it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(flags.map(|(name, value)| format!("--{name}={value}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv runs (Debian: util-linux)");
        Relay { process, ip, drain: file("drain") }
    }

    /// A file that tells the client what there is.
    pub(crate) fn description(&self) -> PathBuf {
        let path = |name: &str| self.folder.path().join(name);
        let relays = self.relays.iter().map(|Relay { ip, drain, .. }| {
            json!({"address": format!("{ip}:4443"), "admin": format!("{ip}:9100"), "drain": drain})
        });
        let description = json!({
            "serverName": SERVER_NAME,
            "audience": POOL,
            "ca": path("tls/ca.crt"),
            "secret": path("auth/secret"),
            "baton": self.baton,
            "relays": relays.collect::<Vec<_>>(),
        });
        fs::write(path("ground.json"), description.to_string()).unwrap();
        path("ground.json")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for relay in &mut self.relays {
            // It may have ended, which the tests have noticed.
            let _ = relay.process.kill();
            let _ = relay.process.wait();
        }
    }
}

/// What all relays of the pool have.
fn pool(folder: &Path) {
    for name in ["pool", "auth", "tls"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.into()]).unwrap();
    fs::write(folder.join("tls/ca.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls/tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls/tls.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("pool/current"), [7; 32]).unwrap();
    fs::write(folder.join("auth/secret"), SECRET).unwrap();
}
