//! The Kubernetes programs, built once from their Go modules.
//!
//! The Go module in `tests/cluster/kube` names Kubernetes as an ordinary dependency. What comes out is
//! one program, `kube`, with a link for each component, and `pause`, the process that holds a pod's
//! namespaces. They are kept in the user's cache folder under a hash of everything that went in, so
//! that a second build is a look-up.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::run::{self, CommandError};

/// Where the Go module is: beside this crate's own sources.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kube");

/// The components, each a name under which `kube` can be started.
pub const COMPONENTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// Raised when the way of building changes without a change to the module's files.
const RECIPE: &str = "1";

/// Builds kept in the cache beside the current one: going back to the last commit stays free.
const OLD_BUILDS_KEPT: usize = 1;

/// How often a long build says that it is still at it.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Why there are no Kubernetes programs.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Go is not there.
    #[error("Go is not installed (or not on the PATH); {required} or newer is needed")]
    NoGo {
        /// The version that `go.mod` asks for.
        required: String,
    },
    /// Go is too old.
    #[error("Go {found} is too old: {required} or newer is needed to build Kubernetes")]
    OldGo {
        /// The version that is there.
        found: String,
        /// The version that `go.mod` asks for.
        required: String,
    },
    /// `go.mod` lacks a line.
    #[error("{MODULE}/go.mod has no line for {0}")]
    GoMod(&'static str),
    /// Go could not be asked.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The compiler failed.
    #[error("building Kubernetes failed; the whole log is {log}\n{tail}")]
    Compile {
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// A file could not be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

trait At<T> {
    fn at(self, path: &Path) -> Result<T, BuildError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BuildError> {
        self.map_err(|source| BuildError::Io { path: path.to_owned(), source })
    }
}

/// The built programs.
#[derive(Debug, Clone)]
pub struct KubeProgram {
    /// The folder with `pause` and a link for each of [`COMPONENTS`].
    pub folder: PathBuf,
    /// The Kubernetes version, such as `v1.35.4`.
    pub version: String,
    /// Keeps the folder from being removed as an old build.
    _in_use: Arc<File>,
}

impl KubeProgram {
    /// Finds the programs in the cache, or builds them: 5 minutes and 3 GB of disk on two cores the
    /// first time. `say` is told what happens.
    ///
    /// # Errors
    /// When Go is missing or too old, or the build fails.
    pub async fn get(mut say: impl FnMut(&str)) -> Result<Self, BuildError> {
        let module = Path::new(MODULE);
        let go_mod = fs::read_to_string(module.join("go.mod")).at(&module.join("go.mod"))?;
        let version = requirement(&go_mod, "k8s.io/kubernetes")
            .ok_or(BuildError::GoMod("k8s.io/kubernetes"))?
            .to_owned();
        let go = check_go(&go_mod).await?;

        let cache = cache_dir().join("kube");
        let folder = cache.join(hash(module, &go)?);
        if let Some(in_use) = hold_complete(&folder)? {
            return Ok(Self { folder, version, _in_use: in_use.into() });
        }
        say(&format!("building Kubernetes {version} with {go}, once (5 minutes on two cores)"));
        fs::create_dir_all(&cache).at(&cache)?;
        let build = tempfile::Builder::new().prefix(".building-").tempdir_in(&cache).at(&cache)?;
        let mut in_use = hold(build.path()).at(build.path())?;
        compile(module, &version, build.path(), &mut say).await?;
        let build = build.keep();
        if let Err(error) = fs::rename(&build, &folder) {
            // Somebody else may have built the same at the same time: theirs is as good.
            let Some(theirs) = hold_complete(&folder)? else { return Err(error).at(&folder) };
            in_use = theirs;
            fs::remove_dir_all(&build).at(&build)?;
        }
        remove_old_builds(&cache, &folder);
        Ok(Self { folder, version, _in_use: in_use.into() })
    }

    /// The path of a component.
    #[must_use]
    pub fn component(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where this project keeps what it can make again: `$XDG_CACHE_HOME/baton`, else
/// `$HOME/.cache/baton`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("baton")
}

async fn check_go(go_mod: &str) -> Result<String, BuildError> {
    let required = go_mod
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .ok_or(BuildError::GoMod("go"))?
        .trim()
        .to_owned();
    if !run::is_installed("go") {
        return Err(BuildError::NoGo { required });
    }
    // Asked outside the module, where an old Go would only say that it is too old.
    let found = run::run("env", ["-C", "/", "GOTOOLCHAIN=local", "go", "env", "GOVERSION"]).await?;
    let found = found.trim().to_owned();
    if numbers(found.trim_start_matches("go")) < numbers(&required) {
        return Err(BuildError::OldGo { found, required });
    }
    Ok(found)
}

/// The leading numbers of a version: `1.26.8-rc1` is 1, 26, 8.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        })
        .collect()
}

/// The version that a `go.mod` requires of a module.
#[must_use]
pub fn requirement<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

/// The hash of the module's files, the compiler and the recipe.
fn hash(module: &Path, go: &str) -> Result<String, BuildError> {
    let mut hasher = Sha256::new();
    for part in [RECIPE, go, std::env::consts::ARCH] {
        hasher.update(part);
        hasher.update([0]);
    }
    for file in ["go.mod", "go.sum", "main.go", "pause/main.go"] {
        let path = module.join(file);
        let content = fs::read(&path).at(&path)?;
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn compile(
    module: &Path,
    version: &str,
    folder: &Path,
    say: &mut impl FnMut(&str),
) -> Result<(), BuildError> {
    let log = cache_dir().join("kube-build.log");
    let log_file = File::create(&log).at(&log)?;
    for (package, program) in [(".", "kube"), ("./pause", "pause")] {
        let mut child = Command::new("go")
            .current_dir(module)
            .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags"])
            .arg(linker_flags(version))
            .arg("-o")
            .arg(folder.join(program))
            .arg(package)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().at(&log)?)
            .stderr(log_file.try_clone().at(&log)?)
            .kill_on_drop(true)
            .spawn()
            .at(Path::new("go"))?;
        let started = Instant::now();
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.at(Path::new("go"))?,
                () = tokio::time::sleep(HEARTBEAT) => {
                    say(&format!("still building {program}, {} s", started.elapsed().as_secs()));
                }
            }
        };
        if !status.success() {
            let tail = tail(&log, 15);
            return Err(BuildError::Compile { log, tail });
        }
    }
    for component in COMPONENTS {
        let link = folder.join(component);
        symlink("kube", &link).at(&link)?;
    }
    // Written last: a folder without it is half a build.
    let complete = folder.join("complete");
    fs::write(&complete, "").at(&complete)
}

/// Without a version stamp every component calls itself v0.0.0, and helm and others refuse to work.
fn linker_flags(version: &str) -> OsString {
    let mut flags = String::from("-s -w");
    let numbers = numbers(version.trim_start_matches('v'));
    let number = |n: usize| numbers.get(n).copied().unwrap_or_default();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", &number(0).to_string()),
            ("gitMinor", &number(1).to_string()),
            ("gitTreeState", "clean"),
            ("gitCommit", "0000000000000000000000000000000000000000"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ] {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    flags.into()
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let content = fs::read(log).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let all: Vec<&str> = content.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Says that a build is in use, until what is returned is dropped or the process ends.
fn hold(build: &Path) -> io::Result<File> {
    let folder = File::open(build)?;
    flock(&folder, FlockOperation::LockShared)?;
    Ok(folder)
}

/// Holds a build, if it is there and complete.
fn hold_complete(build: &Path) -> Result<Option<File>, BuildError> {
    let complete = || build.join("complete").exists();
    if !complete() {
        return Ok(None);
    }
    let in_use = hold(build).at(build)?;
    // Or was it just being removed?
    Ok(complete().then_some(in_use))
}

/// Keeps the cache from growing for ever. What is in use stays, as does what cannot be removed: it
/// costs only disk.
pub fn remove_old_builds(cache: &Path, current: &Path) {
    let others = fs::read_dir(cache).into_iter().flatten().flatten();
    let others = others.filter(|entry| entry.path() != current);
    let (mut old, abandoned): (Vec<_>, Vec<_>) = others
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .partition(|(_, folder)| folder.join("complete").exists());
    old.sort();
    old.truncate(old.len().saturating_sub(OLD_BUILDS_KEPT));
    for (_, folder) in old.into_iter().chain(abandoned) {
        remove_unused(&folder);
    }
}

fn remove_unused(build: &Path) {
    let Ok(folder) = File::open(build) else { return };
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = fs::remove_dir_all(build);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("1.19") < numbers("1.25.0"));
        assert!(numbers("1.9.9") < numbers("1.25.0"));
        assert!(numbers("1.26.8") > numbers("1.25.0"));
        assert_eq!(numbers("1.26rc1"), [1, 26]);
        assert_eq!(numbers("devel"), [0_u32; 0]);
    }

    #[test]
    fn the_module_names_one_kubernetes_version_everywhere() {
        let go_mod = fs::read_to_string(Path::new(MODULE).join("go.mod")).unwrap();
        let version = requirement(&go_mod, "k8s.io/kubernetes").unwrap();
        let staging = version.replacen("v1.", "v0.", 1);
        let replaced: Vec<&str> =
            go_mod.lines().filter(|line| line.contains("=> k8s.io/")).collect();
        assert!(replaced.len() > 20);
        for line in replaced {
            assert!(line.ends_with(&staging), "{line}");
        }
    }

    #[test]
    fn the_stamp_names_the_version_in_both_packages() {
        let flags = linker_flags("v1.35.4").into_string().unwrap();
        assert_eq!(flags.matches("gitVersion=v1.35.4").count(), 2);
        assert_eq!(flags.matches("gitMinor=35 ").count(), 2);
    }

    #[test]
    fn old_builds_go_but_the_newest_of_them_and_what_is_in_use() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let folder = scratch.path().join(name);
            fs::create_dir(&folder).unwrap();
            if !name.starts_with(".building-") {
                fs::write(folder.join("complete"), "").unwrap();
            }
            let when = std::time::SystemTime::now() - Duration::from_secs(age);
            File::open(&folder).unwrap().set_modified(when).unwrap();
            folder
        };
        let current = make("current", 500);
        let oldest = make("oldest", 300);
        let newer = make("newer", 100);
        let used = make("used", 400);
        let _in_use = hold_complete(&used).unwrap().unwrap();
        let abandoned = make(".building-a", 10);
        let building = make(".building-b", 10);
        let _is_building = hold(&building).unwrap();
        remove_old_builds(scratch.path(), &current);
        assert!(current.exists() && newer.exists() && used.exists() && building.exists());
        assert!(!oldest.exists() && !abandoned.exists());
        assert!(hold_complete(&building).unwrap().is_none());
    }
}
