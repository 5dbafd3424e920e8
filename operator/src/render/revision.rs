//! What a revision's pods are made of, kept so that a pod of an earlier revision can be made again.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;

use super::owned;
use crate::names;
use crate::plan::snapshot::Pool;
use crate::revision::Rolls;

/// The ControllerRevision of `rolls`, whose hash is `hash`.
#[must_use]
pub fn render(pool: &Pool, rolls: &Rolls, hash: &str, number: i64) -> ControllerRevision {
    let mut metadata = owned(pool, names::revision(&pool.name, hash));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(names::REVISION_LABEL.to_owned(), hash.to_owned());
    ControllerRevision { metadata, data: Some(RawExtension(rolls.stored())), revision: number }
}
