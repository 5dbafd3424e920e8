//! Schemas that the types alone do not say.

use k8s_openapi::api::core::v1::{
    EnvVar, LocalObjectReference, Toleration, TopologySpreadConstraint,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A count of pods, or a share of `spec.replicas`.
pub(crate) fn pods_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        // Said, because null would be let in otherwise, and is no amount.
        "nullable": false,
        "minimum": 0,
        "maximum": 100,
        "maxLength": 4,
        "pattern": "^(100|[0-9]{1,2})%$",
    })
}

/// Amounts by the name of the resource. Written as `1` as often as `"1"`, so both are taken.
pub(crate) fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        },
    })
}

/// As a pod's `env`: merged by name.
pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    let keyed = json!({
        "maxItems": 64,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    });
    with::<Vec<EnvVar>>(generator, &keyed)
}

/// As a pod's `imagePullSecrets`. Atomic: a key must not be optional, and the name there is.
pub(crate) fn pull_secrets(generator: &mut SchemaGenerator) -> Schema {
    with::<Vec<LocalObjectReference>>(generator, &json!({"maxItems": 16}))
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    with::<Vec<Toleration>>(generator, &json!({"maxItems": 32}))
}

pub(crate) fn spread(generator: &mut SchemaGenerator) -> Schema {
    with::<Vec<TopologySpreadConstraint>>(generator, &json!({"maxItems": 8}))
}

/// The schema of `T`, with these keywords beside it.
fn with<T: JsonSchema>(generator: &mut SchemaGenerator, keywords: &Value) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    for (keyword, value) in keywords.as_object().into_iter().flatten() {
        schema.insert(keyword.clone(), value.clone());
    }
    schema
}
