//! The real helm, built once from its Go module.
//!
//! `tests/helm` names helm as a Go tool, so the Go module proxy is all that is needed. The program is
//! kept in the cache folder under a hash of everything that went in, as the Kubernetes programs are:
//! a second build is a look-up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Instant;

use baton_cluster::kube_program::{cache_dir, remove_old_builds, requirement, tail};
use sha2::{Digest as _, Sha256};

/// Where the Go module is.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm");

/// The Go package of the command, and the variable in it that holds its version.
const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";
const GO_MODULE: &str = "helm.sh/helm/v4";

/// Raised when the way of building changes without a change to the module's files.
const RECIPE: &str = "1";

/// The path of the helm program. The first time it is built, which takes minutes.
///
/// # Panics
/// When Go is missing or too old, or the build fails.
#[must_use]
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| find_or_build(&cache_dir().join("helm"))).clone()
}

/// The version of helm that [`program`] is, such as `v4.1.4`.
///
/// # Panics
/// When the Go module cannot be read.
#[must_use]
pub fn version() -> String {
    let go_mod = fs::read_to_string(Path::new(MODULE).join("go.mod")).expect("tests/helm/go.mod");
    requirement(&go_mod, GO_MODULE).expect("go.mod names helm and its version").to_owned()
}

fn find_or_build(cache: &Path) -> PathBuf {
    let folder = cache.join(hash());
    let program = folder.join("helm");
    if !folder.join("complete").exists() {
        fs::create_dir_all(cache).expect("the cache folder can be made");
        // Test programs of several checkouts may want it at the same time: the second waits, and finds
        // it built. The lock goes with the process, however that ends.
        let lock = File::create(cache.join("lock")).expect("the lock file can be made");
        lock.lock().expect("the lock can be had");
        if !folder.join("complete").exists() {
            build(cache, &folder);
        }
    }
    program
}

/// The hash of the module's files, the compiler and the recipe.
fn hash() -> String {
    let mut hasher = Sha256::new();
    let compiler = go(&["env", "GOVERSION", "GOOS", "GOARCH"]);
    assert!(compiler.status.success(), "`go env` failed: {}", said(&compiler));
    for part in [RECIPE.as_bytes(), &compiler.stdout] {
        hasher.update(part);
        hasher.update([0]);
    }
    for file in ["go.mod", "go.sum"] {
        let content = fs::read(Path::new(MODULE).join(file)).expect("the module's files are here");
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(cache: &Path, folder: &Path) {
    let version = version();
    println!("building helm {version}, once");
    let started = Instant::now();
    // Built aside and renamed: a folder under its final name is whole. The lock makes the name ours.
    let aside = cache.join(".building");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir(&aside).expect("a folder to build in can be made");

    let log = cache_dir().join("helm-build.log");
    let helm = aside.join("helm");
    let output = go(&[
        "build",
        "-trimpath",
        "-mod=readonly",
        "-buildvcs=false",
        "-ldflags",
        &linker_flags(&version),
        "-o",
        helm.to_str().expect("the cache folder has a name in UTF-8"),
        PACKAGE,
    ]);
    fs::write(&log, &output.stderr).expect("the log can be written");
    assert!(
        output.status.success(),
        "building helm failed; the whole log is {}\n{}",
        log.display(),
        tail(&log, 15),
    );
    fs::write(aside.join("complete"), "").expect("the folder can be marked");
    fs::rename(&aside, folder).expect("the folder can be renamed");
    remove_old_builds(cache, folder);
    println!("built helm {version} in {} s", started.elapsed().as_secs());
}

/// Without a stamp, helm knows only the minor version that its sources name.
fn linker_flags(version: &str) -> String {
    let package = format!("{GO_MODULE}/internal/version");
    format!("-s -w -X {package}.version={version} -X {package}.gitTreeState=clean")
}

/// Runs Go in the module, with the compiler that is installed and no other.
fn go(arguments: &[&str]) -> Output {
    Command::new("go")
        .current_dir(MODULE)
        .args(arguments)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .output()
        .expect("Go is installed and on the PATH")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_names_helm_and_the_kubernetes_of_the_cluster() {
        assert!(version().starts_with("v4."), "{}", version());
        let ours = fs::read_to_string(Path::new(MODULE).join("go.mod")).unwrap();
        let cluster = Path::new(MODULE).join("../cluster/kube/go.mod");
        let cluster = fs::read_to_string(cluster).unwrap();
        for line in ["go", "k8s.io/kubectl"] {
            assert_eq!(requirement(&ours, line), requirement(&cluster, line), "{line}");
        }
    }
}
