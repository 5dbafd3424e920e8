//! The programs that the drills run, as they would be shipped.

use std::path::PathBuf;

use baton_tests::programs::{build, named};
use tokio::sync::OnceCell;

/// See the [module](self).
pub(crate) struct Programs {
    pub(crate) relay: PathBuf,
    pub(crate) attacker: PathBuf,
}

impl Programs {
    /// Built once for each test process.
    pub(crate) async fn built() -> &'static Self {
        static BUILT: OnceCell<Programs> = OnceCell::const_new();
        BUILT
            .get_or_init(async || {
                let packages =
                    ["--release", "--package", "baton-relay", "--package", "baton-abuse"];
                let built = build(&packages).await;
                Self { relay: named("baton-relay", &built), attacker: named("baton-abuse", &built) }
            })
            .await
    }
}
