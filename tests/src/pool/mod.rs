//! A pool on a real cluster, as its owner sees it: the chart, a `RelayPool`, its client profile.

mod operator;
pub mod upgrade;
mod watcher;

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::token::{self, Grant};
use baton_client::{ClientConfig, Identity, Profile, TokenSource};
use baton_crds::{RelayPool, RolloutState, RolloutStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;

pub use self::operator::{OPERATOR, fresh_operator, operator_pods};
pub use self::watcher::{FloorWatcher, Seen};
use crate::cluster::{self, TestNamespace, wait_for};
use crate::images::{self, BuiltImage};
use crate::outside::Outside;
use crate::{helm, kubeconfig};

/// The operator's namespace and release.
const SYSTEM: &str = "baton-system";

/// How long a pool may take to come up, or a chart to be installed, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Installs the chart with the operator of this checkout, once for each test process. It stays, as the cluster does.
///
/// # Panics
/// When helm fails.
pub async fn install_operator() {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let image = images::operator().await;
            cluster::load_image(image).await;
            let (repository, tag) = image.name.rsplit_once(':').expect("a name has a tag");
            let helm = tokio::task::spawn_blocking(helm::program).await.expect("helm is built");
            let output = Command::new(helm)
                .args(["upgrade", "--install", "baton"])
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/baton"))
                .args(["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=120s"])
                .arg(format!("--set=image.repository={repository},image.tag={tag}"))
                .arg("--set=log=info,baton_operator=debug".replace(',', "\\,"))
                .env("KUBECONFIG", kubeconfig())
                .output()
                .await
                .expect("helm runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "helm: {said}");
        })
        .await;
}

/// A pool in a test's namespace.
#[derive(Debug, Clone)]
pub struct Pool {
    name: String,
    namespace: String,
    pools: Api<RelayPool>,
    pods: Api<Pod>,
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
}

impl Pool {
    /// Creates a pool of so many relays with this image; `more` is merged into its spec.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn create(
        namespace: &TestNamespace,
        image: &BuiltImage,
        replicas: u32,
        more: Value,
    ) -> Self {
        Self::create_in(namespace.client(), namespace.name(), image, replicas, more).await
    }

    /// As [`create`](Self::create), in a namespace that is no test's.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn create_in(
        client: Client,
        namespace: &str,
        image: &BuiltImage,
        replicas: u32,
        more: Value,
    ) -> Self {
        install_operator().await;
        let name = "edge";
        let mut object = json!({
            "apiVersion": "baton.dev/v1alpha1",
            "kind": "RelayPool",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "minReadySeconds": 1,
                "template": {
                    "image": image.name,
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                },
                "auth": {"mode": "Token"},
            },
        });
        merge(&mut object["spec"], more);
        let pool = Self {
            name: name.into(),
            namespace: namespace.into(),
            pools: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            maps: Api::namespaced(client, namespace),
        };
        let object = serde_json::from_value(object).expect("a RelayPool");
        pool.pools.create(&PostParams::default(), &object).await.expect("the pool is made");
        pool
    }

    /// Waits until every relay serves and the pool has an address.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn ready(&self) -> RelayPool {
        self.wait("every relay serves", PATIENCE, |pool| {
            let Some(status) = &pool.status else { return false };
            status.replicas == pool.spec.replicas && !status.addresses.is_empty()
        })
        .await
    }

    /// Waits until `condition` holds for the pool.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn wait(
        &self,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&RelayPool) -> bool,
    ) -> RelayPool {
        wait_for(&self.pools, &self.name, what, deadline, condition).await
    }

    /// Changes the relays' image.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn set_image(&self, image: &BuiltImage) -> i64 {
        let patch = json!({"spec": {"template": {"image": image.name}}});
        let patched =
            self.pools.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the image is changed").metadata.generation.unwrap_or_default()
    }

    /// Waits until the rollout of this generation is complete.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn rolled_out(&self, generation: i64, deadline: Duration) -> RelayPool {
        self.wait("its rollout is complete", deadline, |pool| {
            let Some(status) = &pool.status else { return false };
            let complete = |state| state == RolloutState::Complete;
            status.observed_generation >= Some(generation)
                && status.rollout.as_ref().is_some_and(|rollout| complete(rollout.state))
                && status.revisions.current == status.revisions.update
                && status.counts.draining == 0
                && status.replicas == pool.spec.replicas
        })
        .await
    }

    /// The pods of the pool.
    ///
    /// # Panics
    /// When they cannot be listed.
    pub async fn pods(&self) -> Vec<Pod> {
        let of_pool = ListParams::default().labels(&format!("baton.dev/pool={}", self.name));
        self.pods.list(&of_pool).await.expect("the pods").items
    }

    /// Counts, independently of the operator, how many pods serve, until it is stopped.
    #[must_use]
    pub fn watch_floor(&self) -> FloorWatcher {
        FloorWatcher::start(self.pods.clone(), &self.name)
    }

    /// What one relay says at a path of its admin port. By the API server's proxy, so it works on every cluster.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn relay(&self, pod: &str, path: &str) -> String {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:9100/proxy{path}", self.namespace);
        let request = http::Request::get(path).body(Vec::new()).expect("a path");
        let client = self.pods.clone().into_client();
        client.request_text(request).await.unwrap_or_else(|error| panic!("{pod}: {error}"))
    }

    /// What one relay says of itself.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn relay_status(&self, pod: &str) -> Value {
        serde_json::from_str(&self.relay(pod, "/v1/status").await).expect("a status")
    }

    /// The sum of a counter over all relays.
    ///
    /// # Panics
    /// When one does not answer.
    pub async fn counter(&self, series: &str) -> u64 {
        let mut sum = 0;
        for pod in self.pods().await {
            let metrics = self.relay(&pod.name_any(), "/metrics").await;
            let line = metrics.lines().find(|line| line.starts_with(series));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            sum += value.unwrap_or_else(|| panic!("{series} in the metrics of {}", pod.name_any()));
        }
        sum
    }

    /// The pool as it is now.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self) -> kube::Result<RelayPool> {
        self.pools.get(&self.name).await
    }

    /// What lets clients in: the profile, with a token for any peer of the group.
    ///
    /// # Panics
    /// When the operator has not made them.
    pub async fn profile(&self, group: &str) -> Profile {
        let (profile, token) = self.credentials(group).await;
        let mut profile = Profile::from_json(profile.as_bytes()).expect("a profile");
        profile.token = TokenSource::Fixed(token.into());
        profile
    }

    /// `profile.json`, and a token for any peer of the group.
    ///
    /// # Panics
    /// When the operator has not made them.
    pub async fn credentials(&self, group: &str) -> (String, String) {
        let name = format!("{}-client", self.name);
        let map = wait_for(&self.maps, &name, "has an address", PATIENCE, has_address).await;
        let mut data = map.data.expect("data");
        let profile = data.remove("profile.json").expect("a profile");
        let secret = self.secrets.get(&format!("{}-auth", self.name)).await.expect("the Secret");
        let secret = &secret.data.expect("data")["hs256"].0;
        let grant = Grant {
            pool: format!("{}/{}", self.namespace, self.name),
            peer: None,
            group: Some(group.into()),
            lifetime: Duration::from_secs(3600),
        };
        let token = token::issue(&grant, secret, token::now_unix());
        (profile, token.expect("a token"))
    }
}

fn has_address(map: &ConfigMap) -> bool {
    let data = map.data.iter().flatten();
    data.filter(|(key, _)| *key == "addresses").any(|(_, addresses)| !addresses.is_empty())
}

/// A client of the pool on a machine outside.
#[must_use]
pub fn client(profile: &Profile, outside: &Outside) -> ClientConfig {
    ClientConfig::new(Identity::ephemeral(), profile.clone()).sockets(outside.sockets())
}

/// The first address of the profile.
///
/// # Panics
/// When it is a name.
#[must_use]
pub fn address(profile: &Profile) -> SocketAddr {
    profile.addresses[0].parse().expect("an address")
}

/// What became of the sessions of a rollout, in one line.
#[must_use]
pub fn outcomes(rollout: &RolloutStatus) -> String {
    let RolloutStatus { moved, left, forced, silent, unjudged, .. } = rollout;
    let unknown =
        if *unjudged == 0 { String::new() } else { format!(", {unjudged} drains unknown") };
    format!("moved {moved}, left {left}, forced {forced}, silent {silent}{unknown}")
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
