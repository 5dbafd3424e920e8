//! The operator's own pod.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};

use super::{SYSTEM, install_operator};
use crate::cluster::{DEADLINE, is_ready, wait_for_all, wait_gone};

/// The container.
pub const OPERATOR: &str = "operator";

/// Pods of the operator's namespace.
#[must_use]
pub fn operator_pods(client: Client) -> Api<Pod> {
    Api::namespaced(client, SYSTEM)
}

/// A new pod of the operator, installed where it is not. The kubelet waits ever longer before it starts a container that
/// ended time and again; in a new pod it starts the first one that is killed at once.
///
/// # Panics
/// When that does not come up.
pub async fn fresh_operator(client: Client) -> Pod {
    install_operator().await;
    let pods = operator_pods(client);
    let old = pods.list(&ListParams::default()).await.expect("the operator's pods");
    for pod in old {
        let name = pod.name_any();
        // One that is gone already is fine, and any other failure shows in the wait.
        let _ = pods.delete(&name, &DeleteParams::default()).await;
        wait_gone(&pods, &name, DEADLINE).await;
    }
    let is_one_ready = |pods: &[Pod]| matches!(pods, [pod] if is_ready(pod));
    let found = wait_for_all(pods, "a new operator is ready", DEADLINE, is_one_ready).await;
    found.into_iter().next().expect("there is one")
}
