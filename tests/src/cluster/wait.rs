//! Waiting for levels, by watches and with deadlines.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::TestNamespace;

/// Enough for anything that a healthy cluster does by itself, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the object exists and `condition` holds for it; returns it.
///
/// # Panics
/// When that does not happen in time, with the object as it was last.
pub async fn wait_for<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    condition: impl Fn(&K) -> bool,
) -> K
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let found = timeout(deadline, async {
        let mut states = pin!(watcher::watch_object(api.clone(), name).default_backoff());
        loop {
            // Errors are the API server's restarts: the watcher backs off and comes back.
            match states.next().await.expect("a watch does not end") {
                Ok(Some(object)) if condition(&object) => return object,
                Ok(object) => last = object,
                Err(_) => {}
            }
        }
    })
    .await;
    found.unwrap_or_else(|_| {
        let kind = K::kind(&());
        panic!("{kind} {name}: not seen that it {what} within {deadline:?}; last: {last:#?}")
    })
}

/// Waits until the object is gone.
///
/// # Panics
/// When that does not happen in time, with the object as it was last.
pub async fn wait_gone<K>(api: &Api<K>, name: &str, deadline: Duration)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let gone = timeout(deadline, async {
        let mut states = pin!(watcher::watch_object(api.clone(), name).default_backoff());
        loop {
            match states.next().await.expect("a watch does not end") {
                Ok(None) => return,
                Ok(object) => last = object,
                Err(_) => {}
            }
        }
    })
    .await;
    let kind = K::kind(&());
    assert!(gone.is_ok(), "{kind} {name}: not gone within {deadline:?}; last: {last:#?}");
}

/// Waits until `count` test pods of the namespace are ready; returns them by name.
///
/// # Panics
/// When that does not happen in time.
pub async fn ready_pods(namespace: &TestNamespace, count: usize) -> Vec<Pod> {
    let pods: Api<Pod> = namespace.api();
    let what = format!("{count} pods are ready");
    wait_for_all(pods, &what, DEADLINE, |pods| pods.len() == count && pods.iter().all(is_ready))
        .await
}

/// Waits until `condition` holds for all objects of a kind together; returns them in order of their
/// names.
///
/// # Panics
/// When that does not happen in time, with the names of what is there.
pub async fn wait_for_all<K>(
    api: Api<K>,
    what: &str,
    deadline: Duration,
    condition: impl Fn(&[K]) -> bool,
) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut known = Known::default();
    let found = timeout(deadline, async {
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        loop {
            // As above: an error is nothing to stop at.
            if let Ok(event) = events.next().await.expect("a watch does not end") {
                known.take(event);
            }
            let all: Vec<K> = known.objects.values().cloned().collect();
            if known.complete && condition(&all) {
                return all;
            }
        }
    })
    .await;
    found.unwrap_or_else(|_| {
        let names: Vec<&String> = known.objects.keys().collect();
        panic!("not seen that {what} within {deadline:?}; there are {names:?}")
    })
}

/// What a watch has shown.
#[derive(Debug)]
struct Known<K> {
    objects: BTreeMap<String, K>,
    /// Was the first listing seen to its end?
    complete: bool,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), complete: false }
    }
}

impl<K: Resource<DynamicType = ()>> Known<K> {
    fn take(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => *self = Self::default(),
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                self.objects.insert(object.name_any(), object);
            }
            watcher::Event::InitDone => self.complete = true,
            watcher::Event::Delete(object) => {
                self.objects.remove(&object.name_any());
            }
        }
    }
}

/// Is the pod's `Ready` condition true, and the pod not being deleted?
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Does it take pods that tolerate nothing? A node of the control plane often does not.
#[must_use]
pub fn takes_pods(node: &Node) -> bool {
    let Some(spec) = &node.spec else { return true };
    let repels = |taint: &Taint| taint.effect != "PreferNoSchedule";
    !spec.unschedulable.unwrap_or_default() && !spec.taints.iter().flatten().any(repels)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_that_repels_pods_takes_none() {
        let takes =
            |spec: Value| takes_pods(&serde_json::from_value(json!({"spec": spec})).unwrap());
        let taint = |effect: &str| json!({"taints": [{"key": "k", "effect": effect}]});
        assert!(takes(json!({})));
        assert!(takes(taint("PreferNoSchedule")));
        assert!(!takes(taint("NoSchedule")));
        assert!(!takes(taint("NoExecute")));
        assert!(!takes(json!({"unschedulable": true})));
    }
}
