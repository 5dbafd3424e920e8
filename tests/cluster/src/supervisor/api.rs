//! What the supervisor asks the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::timeout;

use super::StartError;
use crate::names;

/// How long an answer may take; a frozen API server gives none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// A client with the administrator's rights.
pub(super) async fn client() -> Result<kube::Client, StartError> {
    let kubeconfig = Kubeconfig::read_from(names::kubeconfig())?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Does the API server say that it is ready?
pub(super) async fn is_ready(client: &kube::Client) -> bool {
    let Ok(request) = hyper::Request::get("/readyz").body(Vec::new()) else { return false };
    matches!(timeout(ANSWER_DEADLINE, client.request_text(request)).await, Ok(Ok(_)))
}

/// Can pods be made in the default namespace?
pub(super) async fn has_service_account(client: &kube::Client) -> bool {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    matches!(timeout(ANSWER_DEADLINE, accounts.get("default")).await, Ok(Ok(_)))
}

/// The status of each node's `Ready` condition; empty where the API server does not answer.
pub(super) async fn readiness(client: &kube::Client) -> BTreeMap<String, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Ok(Ok(nodes)) = timeout(ANSWER_DEADLINE, nodes.list(&ListParams::default())).await else {
        return BTreeMap::new();
    };
    let ready = |node: &Node| {
        let conditions = node.status.as_ref()?.conditions.as_ref()?;
        Some(conditions.iter().find(|condition| condition.type_ == "Ready")?.status.clone())
    };
    nodes.iter().filter_map(|node| Some((node.metadata.name.clone()?, ready(node)?))).collect()
}
