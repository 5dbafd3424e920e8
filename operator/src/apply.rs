//! Carrying out a plan: in its order, up to the first step that fails, and without a choice.
//!
//! Every step is harmless when it is done twice or comes too late: creations by name are conflicts the
//! second time, writes to pods carry the UID and version they were planned for, deletions the UID.

use std::fmt::Debug;

use baton_crds::{RelayPool, RelayPoolStatus};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock;
use crate::names;
use crate::plan::action::{Action, Event, PodRef, SecretKind};
use crate::plan::snapshot::Pool;
use crate::render::patch;
use crate::secrets::{self, SecretError};

/// Who owns the fields of what is applied.
const MANAGER: &str = "baton-operator";
/// Who owns the status.
const STATUS_MANAGER: &str = "baton-operator-status";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The world is not as it was seen. It is looked at again at once.
    #[error("{step}: it has changed meanwhile")]
    Changed {
        /// Which step.
        step: String,
    },
    /// The API server refuses, or cannot be reached.
    #[error("{step}")]
    Api {
        /// Which step.
        step: String,
        /// What it says.
        #[source]
        source: kube::Error,
    },
    /// A Secret cannot be made.
    #[error("{step}")]
    Secret {
        /// Which step.
        step: String,
        /// Why.
        #[source]
        source: SecretError,
    },
}

impl ApplyError {
    /// What to tell people: a step that the API server will refuse again until somebody changes something.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let Self::Api { step, source: kube::Error::Api(status) } = self else { return None };
        let refused = matches!(status.code, 400 | 403 | 422);
        let note = format!("cannot {step}: {}", status.message);
        refused.then_some(Event { warning: true, reason: "StepRefused", note })
    }
}

/// Carries out the steps for one pool.
pub struct Applier<'a> {
    client: &'a Client,
    object: &'a RelayPool,
    pool: &'a Pool,
}

impl<'a> Applier<'a> {
    /// For this pool, as it was read last.
    #[must_use]
    pub fn new(client: &'a Client, object: &'a RelayPool, pool: &'a Pool) -> Self {
        Self { client, object, pool }
    }

    /// Writes the status, if nobody has written to the pool since it was read.
    ///
    /// # Errors
    /// When somebody has, or the API server refuses.
    pub async fn write_status(&self, status: &RelayPoolStatus) -> Result<(), ApplyError> {
        let pools: Api<RelayPool> = self.api();
        let patch = json!({
            "apiVersion": RelayPool::api_version(&()),
            "kind": RelayPool::kind(&()),
            "metadata": {"name": self.pool.name, "resourceVersion": self.object.resource_version()},
            "status": status,
        });
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        let patched = pools.patch_status(&self.pool.name, &parameters, &Patch::Apply(&patch)).await;
        patched.map(|_| ()).map_err(|source| failure("write the status".to_owned(), source))
    }

    /// Does one step.
    ///
    /// # Errors
    /// When it cannot be done, or the world is not as it was seen.
    pub async fn apply(&self, action: &Action) -> Result<(), ApplyError> {
        let step = || action.to_string();
        let done = match action {
            Action::HoldPool => self.finalizers(true).await,
            Action::ReleasePool => self.finalizers(false).await,
            Action::CreateSecret(kind) => return self.create_secret(*kind, step()).await,
            Action::CreateRevision(revision) => self.create_once(&**revision).await,
            Action::DeleteRevision { name, uid } => {
                let revisions: Api<ControllerRevision> = self.api();
                delete(&revisions, name, uid).await
            }
            Action::ApplyClientConfig(config) => self.server_side(&**config).await,
            Action::ApplyService(service) => self.server_side(&**service).await,
            Action::ApplyBudget(budget) => self.server_side(&**budget).await,
            Action::DeleteBudget => {
                let budgets: Api<PodDisruptionBudget> = self.api();
                let deleted = budgets.delete(&self.pool.name, &DeleteParams::default()).await;
                gone_is_fine(deleted.map(|_| ()))
            }
            Action::Undrain(pod) => self.patch_pod(pod, &patch::undrain(pod)).await,
            Action::Seed(pod, seeds) => self.patch_pod(pod, &patch::seed(pod, seeds)).await,
            Action::Drain(pod, order) => self.patch_pod(pod, &patch::drain(pod, order)).await,
            Action::DeletePod(pod, _) => {
                let pods: Api<Pod> = self.api();
                delete(&pods, &pod.name, &pod.uid).await
            }
            Action::CreatePod(pod) => {
                let pods: Api<Pod> = self.api();
                // A conflict is somebody else's pod, or ours that we have not seen yet: look again.
                pods.create(&PostParams::default(), pod).await.map(|_| ())
            }
        };
        done.map_err(|source| failure(step(), source))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.pool.namespace)
    }

    async fn finalizers(&self, hold: bool) -> Result<(), kube::Error> {
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != names::FINALIZER);
        if hold {
            finalizers.push(names::FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {
            "resourceVersion": self.object.resource_version(),
            "finalizers": finalizers,
        }});
        let pools: Api<RelayPool> = self.api();
        pools.patch(&self.pool.name, &parameters(), &Patch::Merge(&patch)).await.map(|_| ())
    }

    async fn create_secret(&self, kind: SecretKind, step: String) -> Result<(), ApplyError> {
        let api: Api<Secret> = self.api();
        let authority = match kind {
            SecretKind::Certificate => {
                let name = SecretKind::Authority.name(&self.pool.name);
                match api.get_opt(&name).await {
                    Ok(secret) => secret,
                    Err(source) => return Err(failure(step, source)),
                }
            }
            _ => None,
        };
        let secret = match secrets::make(self.pool, kind, authority.as_ref(), clock::now()) {
            Ok(secret) => secret,
            Err(source) => return Err(ApplyError::Secret { step, source }),
        };
        // One that is there already is somebody's content: it stays, whatever is in it.
        exists_is_fine(api.create(&PostParams::default(), &secret).await.map(|_| ()))
            .map_err(|source| failure(step, source))
    }

    async fn create_once<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = self.api();
        exists_is_fine(api.create(&PostParams::default(), object).await.map(|_| ()))
    }

    async fn server_side<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = self.api();
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await.map(|_| ())
    }

    async fn patch_pod(&self, pod: &PodRef, patch: &Value) -> Result<(), kube::Error> {
        let pods: Api<Pod> = self.api();
        pods.patch(&pod.name, &parameters(), &Patch::Merge(patch)).await.map(|_| ())
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Deletes the object with this UID. Another one of the same name stays.
async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    gone_is_fine(api.delete(name, &parameters).await.map(|_| ()))
}

fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    result.or_else(|error| if code(&error) == Some(404) { Ok(()) } else { Err(error) })
}

fn exists_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    let exists = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists");
    result.or_else(|error| if exists(&error) { Ok(()) } else { Err(error) })
}

fn failure(step: String, source: kube::Error) -> ApplyError {
    match code(&source) {
        Some(404 | 409) => ApplyError::Changed { step },
        _ => ApplyError::Api { step, source },
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn failed(code: u16) -> ApplyError {
        let status = Status { code, message: "port 80 is not valid".into(), ..Status::default() };
        failure("apply the Service".into(), kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_the_api_server_refuses_for_good_is_told_with_its_reason() {
        for code in [400, 403, 422] {
            let event = failed(code).event().unwrap();
            assert!(event.warning);
            assert_eq!(event.note, "cannot apply the Service: port 80 is not valid");
        }
        for passes in [404, 409, 429, 500, 503] {
            assert_eq!(failed(passes).event(), None, "{passes}");
        }
    }
}
