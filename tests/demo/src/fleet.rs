//! The cluster, the operator, and the pool.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use baton_crds::{RelayPool, RolloutState};
use baton_tests::pool::{self, Pool};
use baton_tests::{cluster, images};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::process::Command;

use crate::download::Download;
use crate::files::Files;

/// Where the pool is.
pub(crate) const NAMESPACE: &str = "baton-demo";

const PATIENCE: Duration = Duration::from_secs(240);

/// A pool of three relays.
#[derive(Debug)]
pub(crate) struct Fleet {
    pool: Pool,
}

impl Fleet {
    /// Cluster, images, chart, pool.
    pub(crate) async fn start(say: &impl Fn(&str)) -> anyhow::Result<Self> {
        cluster_up().await?;
        say("a Kubernetes of three nodes is up; images next, which take minutes the first time");
        let relays = images::relays().await;
        let operator = images::operator().await;
        for image in relays.iter().chain([operator]) {
            cluster::load_image(image).await;
        }
        say("images: the operator, and two versions of the relay");
        pool::install_operator().await;
        say("helm install baton charts/baton");
        let client = cluster::client().await;
        fresh_namespace(&client).await?;
        let spec = json!({"drain": {"graceSeconds": 60}});
        let pool = Pool::create_in(client, NAMESPACE, &relays[0], 3, spec).await;
        say("kubectl apply: a RelayPool of three");
        pool.ready().await;
        Ok(Self { pool })
    }

    /// What `baton` needs to get in, as files.
    pub(crate) async fn write_profile(&self, files: &Files) -> anyhow::Result<()> {
        let (profile, token) = self.pool.credentials("demo").await;
        tokio::fs::write(files.path("profile.json"), profile).await?;
        tokio::fs::write(files.path("token"), token).await?;
        Ok(())
    }

    /// Changes the image; returns the generation of the change.
    pub(crate) async fn change_image(&self) -> anyhow::Result<i64> {
        Ok(self.pool.set_image(&images::relays().await[1]).await)
    }

    /// Shows the rollout, a line each second, until it is complete.
    pub(crate) async fn watch(
        &self,
        download: &Download,
        generation: i64,
        size: u64,
        say: &impl Fn(&str),
    ) -> anyhow::Result<RelayPool> {
        let done = self.pool.rolled_out(generation, PATIENCE);
        tokio::pin!(done);
        let mut before = download.bytes();
        loop {
            tokio::select! {
                done = &mut done => return Ok(done),
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    let now = download.bytes();
                    let percent = now * 100 / size;
                    let rate = (now - before) as f64 / f64::from(1 << 20);
                    before = now;
                    say(&format!("{percent:3} %  {rate:4.1} MiB/s  {}", self.line().await?));
                }
            }
        }
    }

    /// The pool in one line.
    async fn line(&self) -> anyhow::Result<String> {
        let pool = self.pool.get().await.context("the pool")?;
        let rollout = pool.status.and_then(|status| status.rollout);
        let state = rollout.as_ref().map_or(RolloutState::Complete, |rollout| rollout.state);
        let moved = rollout.map_or(0, |rollout| rollout.moved);
        let mut pods = self.pool.pods().await;
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
        let pods: Vec<_> =
            pods.iter().map(|pod| format!("{} {}", pod.name_any(), state_of(pod))).collect();
        Ok(format!("{state:?}, {moved} moved | {}", pods.join(" | ")))
    }
}

fn state_of(pod: &Pod) -> &'static str {
    if pod.metadata.deletion_timestamp.is_some() {
        "going"
    } else if pod.annotations().contains_key("baton.dev/drain") {
        "draining"
    } else if cluster::is_ready(pod) {
        "serving"
    } else {
        "starting"
    }
}

/// Brings the cluster up, or uses the one that is up.
async fn cluster_up() -> anyhow::Result<()> {
    let tool = std::env::current_exe()?.with_file_name("baton-cluster");
    let quiet = || Stdio::null();
    let status = Command::new(&tool).arg("status").stdout(quiet()).stderr(quiet()).status().await;
    if status.context("baton-cluster")?.success() {
        return Ok(());
    }
    let up = Command::new(&tool).args(["up", "--install-packages"]).stdin(quiet()).status().await?;
    anyhow::ensure!(up.success(), "the cluster does not come up");
    Ok(())
}

/// The demo's namespace, without what an earlier run left in it.
async fn fresh_namespace(client: &kube::Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await?.is_some() {
        namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
        cluster::wait_gone(&namespaces, NAMESPACE, PATIENCE).await;
    }
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}
