//! Tests on a Kubernetes cluster, each in a namespace of its own.
//!
//! The cluster is this repository's (`baton-cluster`), brought up if it is not; with
//! `CLUSTER=existing` it is the one that the kubeconfig names, and what needs access to its nodes, or
//! our load balancer, is left out, and says so. With `KEEP=1` a failed test's namespace stays.

mod diagnosis;
mod faults;
mod leftovers;
mod process;
mod wait;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::Stdio;
use std::time::Duration;

use baton_cluster::control::{Ask, Connection, ControlError};
use futures::FutureExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ObjectMeta;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell, RwLock};
use tokio::time::{Instant, sleep, timeout};
use tower::timeout::TimeoutLayer;

pub use self::faults::Faults;
pub use self::process::{ContainerProcess, Killed};
pub use self::wait::{
    DEADLINE, is_ready, ready_pods, takes_pods, wait_for, wait_for_all, wait_gone,
};
use crate::figures;
use crate::images::BuiltImage;

/// Tests side by side share the cluster; one that breaks something has it for itself.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// How long the API server may take to begin its answer to a request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// How long a diagnosis may take, with everything that does not answer.
const DIAGNOSIS_DEADLINE: Duration = Duration::from_secs(60);

/// Which cluster is tested?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This repository's, in namespaces of this machine.
    Ours,
    /// The one that the kubeconfig names (`CLUSTER=existing`).
    Existing,
}

impl Kind {
    /// As the environment variable `CLUSTER` says.
    ///
    /// # Panics
    /// When it says something else.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("CLUSTER").unwrap_or_default().as_str() {
            "" => Self::Ours,
            "existing" => Self::Existing,
            other => panic!("CLUSTER={other}: write CLUSTER=existing, or leave it out"),
        }
    }
}

/// A test's own namespace.
#[derive(Clone)]
pub struct TestNamespace {
    test: String,
    name: String,
    client: Client,
}

/// Runs a test in a namespace of its own, side by side with others.
///
/// # Panics
/// When the test does, after saying what is in the namespace.
pub async fn test(name: &str, body: impl AsyncFnOnce(&TestNamespace)) {
    let shared = CLUSTER.read().await;
    run(name, body).await;
    drop(shared);
}

/// Runs a test that would disturb others' measurements alone, in a namespace of its own.
///
/// # Panics
/// As [`test`].
pub async fn test_alone(name: &str, body: impl AsyncFnOnce(&TestNamespace)) {
    let alone = CLUSTER.write().await;
    run(name, body).await;
    drop(alone);
}

/// Runs a test that needs our own cluster, side by side with others. On an existing cluster it is left
/// out, for the reason `why`.
///
/// # Panics
/// As [`test`].
pub async fn test_on_ours(name: &str, why: &str, body: impl AsyncFnOnce(&TestNamespace)) {
    if !is_left_out(name, why) {
        test(name, body).await;
    }
}

/// Runs a test that breaks things in our cluster alone, in a namespace of its own. On an existing
/// cluster it is left out, for the reason `why`.
///
/// # Panics
/// As [`test`].
pub async fn breaking_test(
    name: &str,
    why: &str,
    body: impl AsyncFnOnce(&TestNamespace, &mut Faults),
) {
    if is_left_out(name, why) {
        return;
    }
    let alone = CLUSTER.write().await;
    ensure_up().await;
    // What it breaks is mended when this goes, however the test ends.
    let mut faults = Faults::open().await;
    let namespace = TestNamespace::create(name).await;
    let result = caught(body(&namespace, &mut faults)).await;
    // First of all: a diagnosis needs an API server, and the next test a whole cluster.
    let mended = caught(faults.mend()).await;
    namespace.end(result.and(mended)).await;
    drop(alone);
}

fn is_left_out(name: &str, why: &str) -> bool {
    let left_out = Kind::from_env() == Kind::Existing;
    if left_out {
        figures::left_out(name, &format!("needs our own cluster: {why}"));
    }
    left_out
}

async fn run(name: &str, body: impl AsyncFnOnce(&TestNamespace)) {
    let namespace = TestNamespace::create(name).await;
    let result = caught(body(&namespace)).await;
    namespace.end(result).await;
}

/// A panic as an error, so that there is something to do after it.
async fn caught(body: impl Future<Output = ()>) -> Result<(), Panic> {
    AssertUnwindSafe(body).catch_unwind().await
}

type Panic = Box<dyn Any + Send>;

impl TestNamespace {
    async fn create(test: &str) -> Self {
        let client = client().await;
        leftovers::sweep_once(&client).await;
        let name =
            format!("baton-test-{}-{:06x}", test.replace('_', "-"), rand::random::<u32>() >> 8);
        // A name is a DNS label: 63 bytes.
        let name = if name.len() > 63 {
            format!("{}{}", &name[..56], &name[name.len() - 7..])
        } else {
            name
        };
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(BTreeMap::from([leftovers::owner_label()])),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace is made");
        let created = Self { test: test.to_owned(), name, client };
        // Pods are refused until the controller has made this.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = created.api();
        wait_for(&accounts, "default", "is made", DEADLINE, |_| true).await;
        created
    }

    /// Says what is in it where the test panicked, removes it, and lets the panic go on.
    async fn end(&self, result: Result<(), Panic>) {
        let Err(panic) = result else { return self.delete().await };
        match timeout(DIAGNOSIS_DEADLINE, diagnosis::of(self)).await {
            Ok(said) => eprintln!("{said}"),
            Err(_) => eprintln!("no diagnosis within {DIAGNOSIS_DEADLINE:?}"),
        }
        if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
            let kept = leftovers::keep(&self.client, &self.name).await;
            eprintln!("kept: kubectl --namespace {} get all", self.name);
            if let Err(error) = kept {
                eprintln!("but only until the next test runs: {error}");
            }
        } else {
            self.delete().await;
        }
        resume_unwind(panic);
    }

    /// Not waited for: pods go with their grace, and no test uses the name again.
    async fn delete(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let started = Instant::now();
        // A test may have stopped the API server, which then needs a moment.
        while let Err(error) = namespaces.delete(&self.name, &DeleteParams::default()).await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                // The test has deleted it.
                return;
            }
            if started.elapsed() > REQUEST_DEADLINE {
                eprintln!("namespace {} stays: {error}", self.name);
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with the administrator's rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Objects of one kind in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Records what the test measured.
    pub fn figure(&self, what: &str, value: impl std::fmt::Display) {
        figures::record(&self.test, what, value);
    }

    /// Posts to a path of the API server and expects success.
    pub(crate) async fn post(&self, path: &str) {
        let request = http::Request::post(path).body(Vec::new()).expect("a path");
        let answer = self.client.request_text(request).await;
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"));
    }
}

/// Makes an image known to every node.
///
/// On an existing cluster, the command `IMAGE_LOAD` does that, such as `kind load image-archive`; the
/// archive's path is put behind it. Without it the nodes are expected to have, or find, the image.
///
/// # Panics
/// When that fails.
pub async fn load_image(image: &BuiltImage) {
    static LOADED: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());
    // Held meanwhile: who else wants the image needs it loaded, not being loaded.
    let mut loaded = LOADED.lock().await;
    if !loaded.contains(&image.name) {
        load(image).await;
        loaded.insert(image.name.clone());
    }
}

async fn load(image: &BuiltImage) {
    match Kind::from_env() {
        Kind::Ours => {
            ensure_up().await;
            let mut connection = Connection::open().await.expect("the cluster is up");
            let ask = Ask::LoadImage { archive: image.archive.clone() };
            connection.ask_for_good(ask).await.expect("the image is loaded");
        }
        Kind::Existing => {
            let Ok(command) = std::env::var("IMAGE_LOAD") else { return };
            let script = format!("{command} \"$1\"");
            let status = Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(&image.archive)
                .status()
                .await
                .expect("sh runs");
            assert!(status.success(), "IMAGE_LOAD={command} failed: {status}");
        }
    }
}

/// A client of the cluster that is tested, which is brought up where it is not.
///
/// # Panics
/// When there is none.
pub async fn client() -> Client {
    let config = match Kind::from_env() {
        Kind::Ours => {
            ensure_up().await;
            let path = baton_cluster::names::kubeconfig();
            let kubeconfig = Kubeconfig::read_from(path).expect("the cluster's kubeconfig");
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
        }
        Kind::Existing => {
            let options = KubeConfigOptions::default();
            Config::from_kubeconfig(&options).await
        }
    };
    let config =
        config.expect("CLUSTER=existing needs a kubeconfig (KUBECONFIG, or ~/.kube/config)");
    let client = ClientBuilder::try_from(config).expect("a client of that kubeconfig");
    // Up to the head of an answer, so that watches and logs may go on: a frozen API server takes
    // requests, and would hold a test up for ever.
    client.with_layer(&TimeoutLayer::new(REQUEST_DEADLINE)).build()
}

/// Brings our cluster up where it is not: then it stays up after the test.
async fn ensure_up() {
    static UP: OnceCell<()> = OnceCell::const_new();
    UP.get_or_init(async || {
        match Connection::open().await {
            Ok(_) => return,
            Err(ControlError::NotUp) => {}
            Err(error) => panic!("{error}"),
        }
        // The runner brings one up: if it is gone, another would only hide that.
        assert!(std::env::var_os("BATON_CHECK").is_none(), "the runner's cluster is gone");
        eprintln!("no cluster is up: starting one (it stays up; `make cluster-down` ends it)");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["run", "--quiet", "--package", "baton-cluster", "--", "up"])
            .stdin(Stdio::null())
            .status()
            .await
            .expect("cargo runs");
        assert!(status.success(), "the cluster does not come up");
    })
    .await;
}
