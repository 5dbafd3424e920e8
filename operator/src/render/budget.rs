//! What evictions leave standing.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{owned, stamp};
use crate::names;
use crate::plan::snapshot::Pool;

/// The PodDisruptionBudget `<pool>` over the serving pods. A draining pod is no longer one that anybody
/// counts on, and would otherwise count as healthy.
#[must_use]
pub fn render(pool: &Pool) -> PodDisruptionBudget {
    let selector = [(names::POOL_LABEL, pool.name.as_str()), (names::PHASE_LABEL, names::SERVING)];
    let selector: BTreeMap<String, String> =
        selector.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(pool.spec.disruption.max_unavailable.clone()),
        selector: Some(LabelSelector { match_labels: Some(selector), match_expressions: None }),
        // A relay that is not ready guards nothing; it must not block the drain of its node.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    let mut metadata = owned(pool, pool.name.clone());
    stamp(&mut metadata, &spec);
    PodDisruptionBudget { metadata, spec: Some(spec), status: None }
}
