//! What the operator watches: the pools, and what bears their label.

use std::fmt::Debug;
use std::hash::Hash;

use baton_crds::RelayPool;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::endings::Endings;
use crate::names;

/// What the watches have seen.
pub(super) struct Watches {
    pub(super) pools: Store<RelayPool>,
    pub(super) pods: Store<Pod>,
    pub(super) services: Store<Service>,
    pub(super) configs: Store<ConfigMap>,
    pub(super) budgets: Store<PodDisruptionBudget>,
    pub(super) revisions: Store<ControllerRevision>,
    pub(super) endings: Endings,
}

/// Over when each watch has seen everything once. Clones of one may wait side by side.
pub(super) type Seen = Shared<BoxFuture<'static, ()>>;

impl Watches {
    /// To be asked for once: a store wakes only who has polled it last, and whoever else waits for it sleeps on.
    pub(super) fn seen(&self) -> Seen {
        let (pools, pods) = (self.pools.clone(), self.pods.clone());
        let (services, configs) = (self.services.clone(), self.configs.clone());
        let (budgets, revisions) = (self.budgets.clone(), self.revisions.clone());
        let seen = async move {
            // A store whose watch has ended for good has nothing to wait for; the operator is going down.
            let _ = tokio::join!(
                pools.wait_until_ready(),
                pods.wait_until_ready(),
                services.wait_until_ready(),
                configs.wait_until_ready(),
                budgets.wait_until_ready(),
                revisions.wait_until_ready(),
            );
        };
        seen.boxed().shared()
    }
}

/// The watches, and the controller that they wake.
pub(super) fn start(client: &Client, namespace: Option<&str>) -> (Watches, Controller<RelayPool>) {
    let everything = watcher::Config::default();
    let (pools, seen_pools) = watch(api(client, namespace), everything);
    let labelled = || watcher::Config::default().labels(names::POOL_LABEL);
    let (pods, seen_pods) = watch::<Pod>(api(client, namespace), labelled());
    let endings = Endings::default();
    let seen = endings.clone();
    let seen_pods = seen_pods.inspect(move |pod| {
        if let Ok(pod) = pod {
            seen.note(pod);
        }
    });
    let (services, seen_services) = watch(api(client, namespace), labelled());
    let (configs, seen_configs) = watch(api(client, namespace), labelled());
    let (budgets, seen_budgets) = watch(api(client, namespace), labelled());
    let (revisions, seen_revisions) = watch(api(client, namespace), labelled());
    let controller = Controller::for_stream(seen_pools, pools.clone())
        .owns_stream(seen_pods)
        .owns_stream(seen_services)
        .owns_stream(seen_configs)
        .owns_stream(seen_budgets)
        .owns_stream(seen_revisions);
    (Watches { pools, pods, services, configs, budgets, revisions, endings }, controller)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

type Change<K> = Result<K, watcher::Error>;

/// A store, and the stream that fills it and says what changed.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> (Store<K>, impl Stream<Item = Change<K>> + Send)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq,
{
    let (store, writer) = reflector::store();
    let changes = watcher(api, config).default_backoff().reflect(writer).touched_objects();
    let changes = changes.inspect(|change| {
        if let Err(error) = change {
            // The watcher backs off and comes back.
            tracing::warn!(kind = %K::kind(&()), %error, "watching");
        }
    });
    (store, changes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::runtime::reflector::store::Writer;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// What the first listing of a watch does.
    fn fill<K>(mut writer: Writer<K>)
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        writer.apply_watcher_event(&watcher::Event::Init);
        writer.apply_watcher_event(&watcher::Event::InitDone);
    }

    #[tokio::test]
    async fn all_who_wait_for_the_watches_are_woken_and_not_only_the_last() {
        let (pools, pools_writer) = reflector::store();
        let (pods, pods_writer) = reflector::store();
        let (services, services_writer) = reflector::store();
        let (configs, configs_writer) = reflector::store();
        let (budgets, budgets_writer) = reflector::store();
        let (revisions, revisions_writer) = reflector::store();
        let endings = Endings::default();
        let watches = Watches { pools, pods, services, configs, budgets, revisions, endings };
        let seen = watches.seen();
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(tokio::spawn(seen.clone()));
            // It runs now, on the one thread, and waits.
            yield_now().await;
        }
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        fill(pools_writer);
        fill(pods_writer);
        fill(services_writer);
        fill(configs_writer);
        fill(budgets_writer);
        fill(revisions_writer);
        for waiting in waiting {
            timeout(Duration::from_secs(5), waiting).await.expect("it is woken").unwrap();
        }
    }
}
