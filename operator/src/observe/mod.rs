//! From objects as Kubernetes has them to what the planner knows.

pub mod pod;
pub mod status;

use baton_crds::RelayPool;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::names;
use crate::plan::snapshot::{Pool, Revision};
use crate::revision::Rolls;

/// A pool, without what no plan depends on.
#[must_use]
pub fn pool(pool: &RelayPool, namespace_terminating: bool) -> Pool {
    let metadata = &pool.metadata;
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    Pool {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        spec: pool.spec.clone(),
        status: pool.status.clone().unwrap_or_default(),
        has_finalizer: finalizers.iter().any(|finalizer| finalizer == names::FINALIZER),
        deleted_at: metadata.deletion_timestamp.as_ref().map(|time| time.0),
        namespace_terminating,
    }
}

/// A ControllerRevision. `None`: it is none of ours.
#[must_use]
pub fn revision(revision: &ControllerRevision) -> Option<Revision> {
    let metadata = &revision.metadata;
    Some(Revision {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        hash: metadata.labels.as_ref()?.get(names::REVISION_LABEL)?.clone(),
        number: revision.revision,
        rolls: revision.data.as_ref().and_then(|data| Rolls::from_stored(&data.0)),
    })
}

/// Does the object belong to the pool with this UID?
#[must_use]
pub fn is_owned(metadata: &ObjectMeta, pool_uid: &str) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == pool_uid)
}
