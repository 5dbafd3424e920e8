//! The programs that the drills run, as they would be shipped: built once for each test process. Unchanged, that is a look by
//! cargo.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The relay.
pub(crate) fn relay() -> PathBuf {
    program("baton-relay")
}

/// The attacker.
pub(crate) fn attacker() -> PathBuf {
    program("baton-abuse")
}

fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    let program = built.iter().find(|program| program.ends_with(name));
    program.unwrap_or_else(|| panic!("cargo builds {name}")).clone()
}

fn build() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--release", "--quiet", "--message-format", "json"])
        .args(["--package", "baton-relay", "--package", "baton-abuse"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "relay and attacker could not be built");
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| Some(message["executable"].as_str()?.into())).collect()
}
