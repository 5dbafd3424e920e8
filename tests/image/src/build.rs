//! Building a program of this workspace so that it runs on an empty root, and is the same bytes
//! wherever the checkout lies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use baton_image::Binary;
use sha2::{Digest as _, Sha256};

/// The workspace's folder.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The cargo profile of what goes into an image.
const PROFILE: &str = "image";

/// Builds `program` of `package` and returns its path.
pub(crate) fn static_program(package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let workspace = PathBuf::from(WORKSPACE).canonicalize()?;
    let home = home().context("neither CARGO_HOME nor HOME is set")?;
    let host = host()?;
    let remap = |from: &PathBuf, to| format!("--remap-path-prefix={}={to}", from.display());
    // With an explicit target, flags do not apply to build scripts, which must stay dynamic.
    let flags =
        ["-Ctarget-feature=+crt-static", &remap(&workspace, "/baton"), &remap(&home, "/cargo")]
            .join("\u{1f}");
    let target = workspace.join("target/static");
    let status = Command::new(cargo())
        .current_dir(&workspace)
        .args(["build", "--quiet", "--profile", PROFILE, "--target", &host])
        .args(["--package", package, "--bin", program, "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("building {program} failed ({status})");
    }
    Ok(target.join(host).join(PROFILE).join(program))
}

/// The start of the SHA-256 of the program and its environment, as a tag.
pub(crate) fn content_tag(binary: &Binary, environment: &[(String, String)]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(binary.bytes());
    for (key, value) in environment {
        hasher.update(format!("\0{key}={value}"));
    }
    let hash = hasher.finalize();
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn home() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    cargo.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let said = String::from_utf8(output.stdout)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
