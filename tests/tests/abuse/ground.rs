//! A relay in a control group of its own, and the group that its attacker will be in.
//!
//! Groups have the name of this process, so that what a killed one left is found by whoever comes next, and others are left alone.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use baton_client::Profile;
use baton_cluster::cgroup::Cgroups;
use baton_cluster::cgroup::limited::{Limited, Limits};
use baton_cluster::leftovers::{is_running, kill};
use baton_tests::admin;
use baton_tests::until::until;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pool::{self, POOL, SECRET, SERVER_NAME};
use crate::programs::Programs;

/// Every group of a drill is below this one, and below one that is called like its process.
const ROOT: &str = "baton-abuse";

/// What a relay may have in the chart.
pub(crate) const MEMORY: u64 = 512 << 20;
const RELAY: Limits = Limits { cpu_percent: 100, memory: MEMORY };
const ATTACKER: Limits = Limits { cpu_percent: 50, memory: MEMORY };

/// A relay that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the [module](self).
pub(crate) struct Ground {
    cgroups: Cgroups,
    pub(crate) relay: Limited,
    pub(crate) attacker: Limited,
    pub(crate) programs: &'static Programs,
    process: Child,
    ip: IpAddr,
    _folder: TempDir,
}

/// Groups that a killed process left.
struct Left {
    root: String,
}

impl Ground {
    /// Groups, and a relay that is ready. It has the limits with which it is shipped.
    pub(crate) async fn lay() -> Self {
        let cgroups = Cgroups::detect().unwrap_or_else(|error| cannot(&error));
        for Left { root } in left(&cgroups) {
            let processes: BTreeSet<_> = cgroups.processes(&root).into_iter().collect();
            kill(&processes).await.expect("what a killed drill left");
            cgroups.remove(&root).await.expect("what a killed drill left");
        }
        // A drill that failed left its own.
        cgroups.remove(&mine()).await.expect("groups whose processes have ended");
        let me = std::process::id().to_string();
        let group = |name, limits| {
            let limited = Limited::create(&cgroups, &[ROOT, &me, name], limits);
            limited.unwrap_or_else(|error| cannot(&error))
        };
        let (relay, attacker) = (group("relay", RELAY), group("attacker", ATTACKER));
        let folder = tempfile::tempdir().unwrap();
        // A loopback address of its own, so that ports are the usual ones. The process id keeps runs side by side apart.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 90, high, low).into();
        let programs = Programs::built().await;
        let mut command = relay.command(&programs.relay, arguments(folder.path(), ip));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // It logs as it does anywhere.
        let process = command.stderr(Stdio::null()).spawn().expect("a shell");
        let ground = Self { cgroups, relay, attacker, programs, process, ip, _folder: folder };
        until("the relay is ready", PATIENCE, || ground.get("/readyz").is_some()).await;
        ground
    }

    /// Where clients come in.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 4443)
    }

    /// What an ordinary client of this group is configured with.
    pub(crate) fn profile(&self, group: &str) -> Profile {
        let profile = json!({
            "addresses": [self.address().to_string()],
            "serverName": SERVER_NAME,
            "audience": POOL,
            "ca": pool::made().cert.pem(),
            "token": token(group),
        });
        Profile::from_json(profile.to_string().as_bytes()).unwrap()
    }

    /// A series of the relay's metrics, or the sum of all that begin so.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let metrics = self.get("/metrics").expect("the relay answers its admin port");
        let values = metrics.lines().filter_map(|line| line.strip_prefix("baton_relay_"));
        let values: Vec<_> = values.filter(|line| line.starts_with(series)).collect();
        assert!(!values.is_empty(), "there is no {series} in {metrics}");
        values.iter().map(|line| value_of(line)).sum()
    }

    /// How many sessions it says it has.
    pub(crate) fn sessions(&self) -> u64 {
        let status = self.get("/v1/status").expect("the relay answers its admin port");
        let status: Value = serde_json::from_str(&status).unwrap();
        status["sessions"].as_u64().unwrap()
    }

    /// The body of the relay's answer; none if it does not answer as it should.
    fn get(&self, path: &str) -> Option<String> {
        admin::get(SocketAddr::new(self.ip, 9100), path)
    }

    /// Whether the relay is still the process that was started.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends the relay, and leaves nothing.
    pub(crate) async fn clear(mut self) {
        self.end();
        self.cgroups.remove(&mine()).await.expect("groups whose processes have ended");
        remove_root(&self.cgroups);
    }

    fn end(&mut self) {
        // It may have ended; the drill has noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Ground {
    /// A drill that failed leaves its groups to the next one, which removes them, but no process.
    fn drop(&mut self) {
        self.end();
    }
}

fn arguments(folder: &Path, ip: IpAddr) -> Vec<String> {
    let made = pool::made();
    let file = |name: &str| -> PathBuf { folder.join(name) };
    for name in ["pool", "auth", "tls"] {
        fs::create_dir(file(name)).unwrap();
    }
    fs::write(file("tls/tls.crt"), made.cert.pem()).unwrap();
    fs::write(file("tls/tls.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(file("pool/current"), [7; 32]).unwrap();
    fs::write(file("auth/secret"), SECRET).unwrap();
    fs::write(file("seeds"), r#"{"pods": [], "first": true}"#).unwrap();
    fs::write(file("drain"), "").unwrap();
    let at = |port: u16| SocketAddr::new(ip, port).to_string();
    let flags = [
        ("pool", POOL.to_owned()),
        ("name", "relay".to_owned()),
        ("listen", at(4443)),
        ("mesh-listen", at(4444)),
        ("admin-listen", at(9100)),
    ];
    let files = [
        ("pool-keys", "pool"),
        ("auth-keys", "auth"),
        ("tls", "tls"),
        ("seeds-file", "seeds"),
        ("drain-file", "drain"),
        ("state", "state"),
    ];
    let flags = flags.map(|(name, value)| format!("--{name}={value}"));
    let files = files.map(|(name, path)| format!("--{name}={}", file(path).display()));
    flags.into_iter().chain(files).collect()
}

/// A token for any key of this group, which outlives the drill.
pub(crate) fn token(group: &str) -> String {
    let claims = json!({"aud": POOL, "exp": now_unix() + 3600, "grp": group});
    String::from_utf8(pool::token(&claims).to_vec()).unwrap()
}

pub(crate) fn now_unix() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn value_of(line: &str) -> u64 {
    let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    value.unwrap_or_else(|| panic!("'{line}' has no value")) as u64
}

/// What all groups of this process are below.
fn mine() -> String {
    format!("{ROOT}/{}", std::process::id())
}

/// Groups of processes that are no more.
fn left(cgroups: &Cgroups) -> Vec<Left> {
    let of = |group: &PathBuf| -> Option<i32> {
        let parent = group.parent()?;
        let is_ours = parent.file_name().is_some_and(|name| name == ROOT);
        is_ours.then(|| group.file_name()?.to_str()?.parse().ok())?
    };
    let owners: BTreeSet<_> = cgroups.below(ROOT).iter().filter_map(of).collect();
    let dead = owners.into_iter().filter(|owner| !is_running(*owner));
    dead.map(|owner| Left { root: format!("{ROOT}/{owner}") }).collect()
}

/// The group above, in every hierarchy, unless it is somebody else's too.
fn remove_root(cgroups: &Cgroups) {
    for group in cgroups.below(ROOT) {
        let _ = fs::remove_dir(group);
    }
}

fn cannot(error: &dyn std::error::Error) -> ! {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    panic!(
        "relay and attacker cannot have control groups of their own ({why}): run this as root, on a machine whose control \
         groups (v1 or v2) can be written"
    )
}
