//! The same sources give the same image, wherever the checkout lies and whatever was built before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A copy of the checkout as it is, without what was built.
fn copy_to(folder: &Path) {
    let script = "git ls-files --cached --others --exclude-standard -z \
                  | tar --create --null --files-from - | tar --extract --directory \"$1\"";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .current_dir(WORKSPACE)
        .status()
        .unwrap();
    assert!(status.success());
}

fn digest_from(folder: &Path) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["run", "--quiet", "--package", "baton-image", "--", "build"])
        .args(["--package", "baton-testpod", "--bin", "testpod"])
        .args(["--repository", "registry.local/baton/testpod"])
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    built["digest"].as_str().unwrap().to_owned()
}

#[test]
fn two_checkouts_give_the_same_digest() {
    let scratch = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "a/longer/path/to/two"].map(|name| {
        let folder = scratch.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        copy_to(&folder);
        folder
    });
    assert_eq!(digest_from(&one), digest_from(&two));
}
