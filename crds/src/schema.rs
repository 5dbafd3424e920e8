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
            "minimum": 0,
            "maxLength": 32,
            "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        },
    })
}

/// Every key is one that Kubernetes takes for labels and annotations. Otherwise no pod could be made.
pub(crate) const KEYS_RULE: &str = "self.all(k, size(k) <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
pub(crate) const KEYS_MESSAGE: &str = "a key must be a name of at most 63 letters, digits, '-', '_' and '.', such as team, \
     or example.com/team";

/// Labels: their values are bounded, as Kubernetes bounds them.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        },
    })
}

/// As a pod's `env`: merged by name, which is bounded, or the rules about it would count as too costly.
pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    let keyed = json!({
        "maxItems": 64,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    });
    let mut schema = with::<Vec<EnvVar>>(generator, &keyed);
    if let Some(name) = schema.pointer_mut("/items/properties/name") {
        name["maxLength"] = json!(253);
    }
    schema
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
