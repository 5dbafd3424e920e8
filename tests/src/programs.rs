//! Programs of this repository, as processes. Built when they are needed; unchanged, that is a look by cargo.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// Builds what these arguments of `cargo build` say, and gives the programs that there are then.
///
/// # Panics
/// When they cannot be built.
pub async fn build(arguments: &[&str]) -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--quiet", "--message-format", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("cargo runs");
    assert!(output.status.success(), "`cargo build {}` failed", arguments.join(" "));
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| Some(message["executable"].as_str()?.into())).collect()
}

/// The one of this name.
///
/// # Panics
/// When it is not among them.
#[must_use]
pub fn named(name: &str, programs: &[PathBuf]) -> PathBuf {
    let program = programs.iter().find(|program| program.ends_with(name));
    program.unwrap_or_else(|| panic!("cargo builds {name}")).clone()
}
