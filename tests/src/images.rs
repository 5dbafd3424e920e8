//! The images that the tests run, built on demand.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// An image archive on this machine.
#[derive(Debug, Clone, Deserialize)]
pub struct BuiltImage {
    /// The name that pods use. It names the content: another program has another name.
    pub name: String,
    /// Where the archive is.
    pub archive: PathBuf,
}

/// The image of [`crate::testpod`], built once for each test process. Unchanged, that is a look by
/// cargo.
///
/// # Panics
/// When it cannot be built.
pub async fn testpod() -> &'static BuiltImage {
    static IMAGE: OnceCell<BuiltImage> = OnceCell::const_new();
    IMAGE.get_or_init(|| build("baton-testpod", "testpod", &[])).await
}

/// The image of the operator.
///
/// # Panics
/// When it cannot be built.
pub async fn operator() -> &'static BuiltImage {
    static IMAGE: OnceCell<BuiltImage> = OnceCell::const_new();
    IMAGE.get_or_init(|| build("baton-operator", "baton-operator", &[])).await
}

/// Two images of the relay: the same program, which says that it is version 1 and version 2.
///
/// # Panics
/// When they cannot be built.
pub async fn relays() -> &'static [BuiltImage; 2] {
    static IMAGES: OnceCell<[BuiltImage; 2]> = OnceCell::const_new();
    let image =
        |version| async move { build("baton-relay", "baton-relay", &["--env", version]).await };
    IMAGES
        .get_or_init(|| async {
            [image("BATON_VERSION=1.0.0").await, image("BATON_VERSION=2.0.0").await]
        })
        .await
}

/// An image of the relay whose process ends at once, because its image gives it an address that is none.
///
/// # Panics
/// When it cannot be built.
pub async fn ending_relay() -> &'static BuiltImage {
    static IMAGE: OnceCell<BuiltImage> = OnceCell::const_new();
    let environment = ["--env", "BATON_ADMIN_LISTEN=nowhere"];
    IMAGE.get_or_init(|| build("baton-relay", "baton-relay", &environment)).await
}

async fn build(package: &str, program: &str, more: &[&str]) -> BuiltImage {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let repository = format!("registry.local/baton/{program}");
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["run", "--quiet", "--package", "baton-image", "--", "build"])
        .args(["--package", package, "--bin", program, "--repository", &repository])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the image of {package} could not be built: {said}");
    serde_json::from_slice(&output.stdout).expect("baton-image prints what it built")
}
