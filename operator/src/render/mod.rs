//! The objects of a pool, as functions of its spec: no choice, no failure, no input but the arguments.

pub mod budget;
pub mod client;
pub mod patch;
pub mod pod;
pub mod revision;
pub mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::names;
use crate::plan::snapshot::Pool;
use crate::revision::canonical;

/// The metadata of an object that belongs to the pool.
pub(crate) fn owned(pool: &Pool, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pool.namespace.clone()),
        labels: Some(labels(&pool.name)),
        owner_references: Some(vec![owner(pool)]),
        ..ObjectMeta::default()
    }
}

fn labels(pool: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "baton-relay"),
        ("app.kubernetes.io/instance", pool),
        ("app.kubernetes.io/managed-by", "baton-operator"),
        (names::POOL_LABEL, pool),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The pool goes after what it owns only as far as its finalizer says, so nothing blocks its deletion.
fn owner(pool: &Pool) -> OwnerReference {
    OwnerReference {
        api_version: baton_crds::RelayPool::api_version(&()).into_owned(),
        kind: baton_crds::RelayPool::kind(&()).into_owned(),
        name: pool.name.clone(),
        uid: pool.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Puts a hash of the content into an annotation of it: with that, [`is_applied`] notices also what was
/// in an object once and is no longer wanted.
pub(crate) fn stamp(metadata: &mut ObjectMeta, content: &impl Serialize) {
    // What is rendered here is JSON by construction.
    let text = canonical(&serde_json::to_value(content).unwrap_or_default());
    let hash = Sha256::digest(text.as_bytes());
    let short: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(names::APPLIED_ANNOTATION.to_owned(), short);
}

/// Everything that is wanted is there. What others added does not matter.
pub(crate) fn is_applied<T: Serialize>(observed: Option<&T>, wanted: &T) -> bool {
    let value = |object: &T| serde_json::to_value(object).unwrap_or_default();
    observed.is_some_and(|observed| covers(&value(observed), &value(wanted)))
}

fn covers(observed: &Value, wanted: &Value) -> bool {
    match (observed, wanted) {
        (Value::Object(observed), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            observed.get(key).is_some_and(|observed| covers(observed, wanted))
        }),
        (Value::Array(observed), Value::Array(wanted)) => {
            observed.len() == wanted.len()
                && observed.iter().zip(wanted).all(|(observed, wanted)| covers(observed, wanted))
        }
        (observed, wanted) => observed == wanted,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A pool with these fields in its spec.
    pub(crate) fn pool(spec: Value) -> Pool {
        let mut whole = json!({"template": {"image": "relay:1"}});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        Pool {
            namespace: "apps".to_owned(),
            name: "edge".to_owned(),
            uid: "pool-uid".to_owned(),
            generation: 1,
            spec: serde_json::from_value(whole).unwrap(),
            status: baton_crds::RelayPoolStatus::default(),
            has_finalizer: true,
            deleted_at: None,
            namespace_terminating: false,
        }
    }

    #[test]
    fn what_others_added_does_not_matter_and_what_is_missing_does() {
        let wanted = json!({"a": 1, "list": [{"x": 1}]});
        let cases = [
            (json!({"a": 1, "list": [{"x": 1, "added": 2}], "status": {}}), true),
            (json!({"a": 2, "list": [{"x": 1}]}), false),
            (json!({"a": 1, "list": [{"x": 1}, {"x": 2}]}), false),
            (json!({"list": [{"x": 1}]}), false),
        ];
        for (observed, expected) in cases {
            assert_eq!(covers(&observed, &wanted), expected, "{observed}");
        }
    }
}
