//! What the tests of a pool begin with.

use std::time::Duration;

use baton_client::{ClientConfig, Profile};
use baton_tests::cluster::{self, TestNamespace};
use baton_tests::images;
use baton_tests::outside::Outside;
use baton_tests::pool::{self, Pool};
use baton_tests::shell;
use serde_json::Value;

/// How long anything may take that the operator does, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A pool that serves, a machine outside, and kubectl.
pub(crate) struct Stage {
    pub(crate) pool: Pool,
    kubectl: String,
    profile: Profile,
    outside: Outside,
}

impl Stage {
    /// A pool of so many relays; `more` is merged into its spec.
    pub(crate) async fn set(namespace: &TestNamespace, replicas: u32, more: Value) -> Self {
        let [image, _] = images::relays().await;
        cluster::load_image(image).await;
        let pool = Pool::create(namespace, image, replicas, more).await;
        let kubectl = format!("kubectl --namespace {}", namespace.name());
        let wait = "wait --for=condition=Ready --timeout=120s rp/edge";
        shell::run(&format!("{kubectl} {wait}")).await;
        pool.ready().await;
        let profile = pool.profile("team").await;
        Self { pool, kubectl, profile, outside: Outside::create().await }
    }

    /// What a client of the pool outside is made with.
    pub(crate) fn client(&self) -> ClientConfig {
        pool::client(&self.profile, &self.outside)
    }

    /// Two of them.
    pub(crate) fn two(&self) -> [ClientConfig; 2] {
        [self.client(), self.client()]
    }

    /// What kubectl prints, in the test's namespace.
    pub(crate) async fn kubectl(&self, arguments: &str) -> String {
        shell::run(&format!("{} {arguments}", self.kubectl)).await
    }

    /// The same, as soon as it is what is wanted.
    pub(crate) async fn kubectl_until(
        &self,
        arguments: &str,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        shell::until_prints(&format!("{} {arguments}", self.kubectl), what, PATIENCE, wanted).await
    }
}
