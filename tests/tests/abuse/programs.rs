//! The programs that the drills run, as they would be shipped: built once for each test process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use baton_tests::programs;

/// The relay.
pub(crate) fn relay() -> &'static Path {
    programs::named("baton-relay", built())
}

/// The attacker.
pub(crate) fn attacker() -> &'static Path {
    programs::named("baton-abuse", built())
}

fn built() -> &'static [PathBuf] {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        programs::build(&["--release", "--package", "baton-relay", "--package", "baton-abuse"])
    })
}
