//! Making a snapshot.

use baton_crds::RelayPool;
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt as _};

use super::watches::Watches;
use crate::clock;
use crate::memory::Memory;
use crate::names;
use crate::observe;
use crate::observe::status::ask;
use crate::plan::action::SecretKind;
use crate::plan::snapshot::{
    Container, Objects, Pool, Presence, Probe, RelayPod, Revision, Secrets, Snapshot,
};
use crate::secrets;

/// Relays that are asked at the same time: a pool has at most some hundred.
const ASKED_AT_ONCE: usize = 32;

/// Why the world cannot be seen.
#[derive(Debug, thiserror::Error)]
#[error("reading {what}")]
pub struct LookError {
    what: &'static str,
    #[source]
    source: kube::Error,
}

fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> LookError {
    move |source| LookError { what, source }
}

/// How to see.
pub(super) struct Look<'a> {
    pub(super) client: &'a Client,
    pub(super) watches: &'a Watches,
}

impl Look<'_> {
    /// By what the watches have seen. Relays are asked whose turn it is.
    pub(super) async fn cached(
        &self,
        object: &RelayPool,
        memory: &mut Memory,
    ) -> Result<Snapshot, LookError> {
        let uid = object.uid().unwrap_or_default();
        let pods = self.watches.pods.state();
        let pods = pods.iter().filter(|pod| observe::is_owned(&pod.metadata, &uid));
        let mut pods: Vec<RelayPod> =
            pods.map(|pod| observe::pod::observe(pod, Probe::default())).collect();
        probe(&mut pods, memory).await;
        let revisions = self.watches.revisions.state();
        let revisions = revisions.iter().filter(|found| observe::is_owned(&found.metadata, &uid));
        let revisions = revisions.filter_map(|found| observe::revision(found)).collect();
        self.snapshot(object, pods, revisions, memory).await
    }

    /// By asking the API server, and the pool with it as it is there. `None`: it is gone.
    pub(super) async fn fresh(
        &self,
        object: &RelayPool,
        memory: &mut Memory,
    ) -> Result<Option<(RelayPool, Snapshot)>, LookError> {
        let namespace = object.namespace().unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        let labelled = names::POOL_LABEL.to_owned() + "=" + &object.name_any();
        let labelled = ListParams::default().labels(&labelled);

        let pools: Api<RelayPool> = Api::namespaced(self.client.clone(), &namespace);
        let found = pools.get_opt(&object.name_any()).await.map_err(reading("the pool"))?;
        let Some(object) = found.filter(|found| found.uid().as_deref() == Some(&uid)) else {
            return Ok(None);
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let pods = pods.list(&labelled).await.map_err(reading("the pods"))?;
        let pods = pods.iter().filter(|pod| observe::is_owned(&pod.metadata, &uid));
        let mut pods: Vec<RelayPod> =
            pods.map(|pod| observe::pod::observe(pod, Probe::default())).collect();
        probe(&mut pods, memory).await;
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &namespace);
        let revisions = revisions.list(&labelled).await.map_err(reading("the revisions"))?;
        let revisions = revisions.iter().filter(|found| observe::is_owned(&found.metadata, &uid));
        let revisions = revisions.filter_map(observe::revision).collect();
        let snapshot = self.snapshot(&object, pods, revisions, memory).await?;
        Ok(Some((object, snapshot)))
    }

    async fn snapshot(
        &self,
        object: &RelayPool,
        mut pods: Vec<RelayPod>,
        revisions: Vec<Revision>,
        memory: &mut Memory,
    ) -> Result<Snapshot, LookError> {
        let ending = match object.metadata.deletion_timestamp {
            Some(_) => self.namespace_terminates(object).await?,
            None => false,
        };
        let pool = observe::pool(object, ending);
        let missed = self.watches.endings.missed(&pool.status, &pods);
        pods.extend(missed);
        // Nothing is made for a pool that goes.
        let secrets = match pool.deleted_at {
            Some(_) => Secrets::default(),
            None => self.secrets(&pool, memory).await?,
        };
        let objects = Objects {
            service: cached(&self.watches.services, &pool, &pool.name),
            client: cached(&self.watches.configs, &pool, &names::client_config(&pool.name)),
            budget: cached(&self.watches.budgets, &pool, &pool.name),
        };
        let numbers_written = memory.numbers_written;
        Ok(Snapshot { now: clock::now(), pool, pods, revisions, secrets, objects, numbers_written })
    }

    /// A namespace that cannot be read is taken to stay: then the pool drains, which is bounded.
    async fn namespace_terminates(&self, object: &RelayPool) -> Result<bool, LookError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.get_opt(&object.namespace().unwrap_or_default()).await {
            Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                tracing::warn!("may not read the namespace: grant get on namespaces");
                Ok(false)
            }
            Err(source) => Err(reading("the namespace")(source)),
        }
    }

    /// One by one and by name: the operator may neither list nor watch Secrets.
    async fn secrets(&self, pool: &Pool, memory: &mut Memory) -> Result<Secrets, LookError> {
        let now = clock::now();
        if let Some(secrets) = memory.secrets(now) {
            return Ok(secrets);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &pool.namespace);
        let read = async |kind: SecretKind| {
            let secret = api.get_opt(&kind.name(&pool.name)).await.map_err(reading("a Secret"))?;
            Ok::<_, LookError>((secrets::presence(kind, secret.as_ref()), secret))
        };
        let (ca, authority) = read(SecretKind::Authority).await?;
        let secrets = Secrets {
            pool: read(SecretKind::Pool).await?.0,
            auth: read(SecretKind::Auth).await?.0,
            tls: read(SecretKind::Certificate).await?.0,
            ca,
            ca_certificate: authority.and_then(|secret| secrets::text(&secret, "ca.crt")),
        };
        if [secrets.pool, secrets.auth, secrets.ca, secrets.tls] == [Presence::Present; 4] {
            memory.note_secrets(secrets.clone(), now);
        }
        Ok(secrets)
    }
}

fn cached<K>(store: &Store<K>, pool: &Pool, name: &str) -> Option<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone,
{
    let found = store.get(&ObjectRef::new(name).within(&pool.namespace))?;
    Some((*found).clone())
}

/// Asks the relays whose turn it is, and fills in what is known of all.
async fn probe(pods: &mut [RelayPod], memory: &mut Memory) {
    let now = clock::now();
    let due = pods.iter().filter(|pod| is_askable(pod) && memory.is_due(pod, now));
    let asked: Vec<_> = futures::stream::iter(due.cloned().collect::<Vec<_>>())
        .map(async |pod| {
            let ip = pod.ip.clone().unwrap_or_default();
            let answer = ask(&ip, &pod.uid).await;
            if let Err(error) = &answer {
                tracing::debug!(pod = pod.name, %error, "no status");
            }
            (pod, answer.ok())
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    let now = clock::now();
    for (pod, answer) in asked {
        memory.note(&pod, answer, now);
    }
    memory.keep_only(pods);
    for pod in pods {
        pod.probe = memory.probe(pod);
    }
}

fn is_askable(pod: &RelayPod) -> bool {
    pod.ip.is_some() && matches!(pod.container, Container::Running { .. })
}
