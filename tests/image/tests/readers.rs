//! Tools that this project did not write read the archive, in both of its formats.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// An archive of a real program: this project's own test pod.
fn archive() -> (String, PathBuf) {
    let output = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["run", "--quiet", "--package", "baton-image", "--", "build"])
        .args(["--package", "baton-testpod", "--bin", "testpod"])
        .args(["--repository", "registry.local/baton/testpod"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    let field = |name: &str| built[name].as_str().unwrap().to_owned();
    (field("name"), field("archive").into())
}

/// skopeo, installed where that is possible.
fn skopeo(arguments: &[&str]) -> Vec<u8> {
    if Command::new("skopeo").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("installing skopeo");
        let install = "apt-get update -q && apt-get install -q -y --no-install-recommends skopeo";
        let status = Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "skopeo is missing: apt-get install skopeo"
        );
    }
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn inspect(format: &str, archive: &Path) -> Value {
    let source = format!("{format}:{}", archive.display());
    serde_json::from_slice(&skopeo(&["inspect", &source])).unwrap()
}

#[test]
fn skopeo_reads_it_as_an_oci_layout_and_as_docker_save_writes_it() {
    let (name, archive) = archive();
    let (_, tag) = name.rsplit_once(':').unwrap();
    let oci = inspect("oci-archive", &archive);
    let docker = inspect("docker-archive", &archive);
    for seen in [&oci, &docker] {
        assert_eq!(seen["Os"], "linux", "{seen}");
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
    }

    // A copy checks every digest on the way, in either format.
    let scratch = tempfile::tempdir().unwrap();
    for (from, reference) in [
        ("oci-archive", format!("{}:{tag}", archive.display())),
        ("docker-archive", archive.display().to_string()),
    ] {
        let to = format!("dir:{}", scratch.path().join(from).display());
        skopeo(&["copy", "--quiet", "--insecure-policy", &format!("{from}:{reference}"), &to]);
    }
}
