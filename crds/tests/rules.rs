//! Pools that make no sense are refused at admission, with words that say what to do.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input fails")]

use kube::core::cel::Validator;
use serde_json::{Value, json};

/// A pool as the API server sees it after it has filled in the defaults.
fn pool() -> Value {
    let written = json!({
        "apiVersion": "baton.dev/v1alpha1",
        "kind": "RelayPool",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"template": {"image": "registry.example/baton-relay:0.1.0"}},
    });
    let pool: baton_crds::RelayPool = serde_json::from_value(written).unwrap();
    let mut pool = serde_json::to_value(pool).unwrap();
    // What is not written out at its default.
    pool["spec"]["template"]["logLevel"] = json!("info");
    pool["spec"]["template"]["metadata"] = json!({});
    pool
}

fn schema() -> Value {
    let definition = baton_crds::definition().unwrap();
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone()
}

/// What admission says to a pool with this one change.
fn refusal(pointer: &str, value: Value) -> Option<String> {
    let mut pool = pool();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pool.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"))[key] = value;
    let refused = Validator::new().validate(&schema(), &pool, None).err()?;
    Some(refused.to_string())
}

#[test]
fn a_pool_of_an_image_and_nothing_else_is_accepted() {
    assert_eq!(refusal("/metadata/name", json!("edge")), None);
}

#[test]
fn nonsense_is_refused_with_what_to_do() {
    let cases = [
        ("/metadata/name", json!("edge.one"), "metadata.name must be"),
        ("/metadata/name", json!("1edge"), "metadata.name must be"),
        ("/metadata/name", json!("edge-"), "metadata.name must be"),
        ("/metadata/name", json!("e".repeat(41)), "at most 40"),
        ("/spec/progressDeadlineSeconds", json!(65), "raise it"),
        ("/spec/drain/graceSeconds", json!(600), "raise it"),
        ("/spec/service/type", json!("ClusterIP"), ""),
        ("/spec/service/loadBalancerClass", json!("example.com/one"), ""),
        ("/spec/template/env", json!([{"name": "BATON_POOL"}]), "set by the operator"),
        ("/spec/template/env", json!([{"name": "BATON_OTHER"}]), ""),
        ("/spec/template/env", json!([{"name": "A=B"}]), "must not hold '='"),
        ("/spec/template/env", json!([{"name": ""}]), "must not be empty"),
        ("/spec/template/image", json!(" "), "without spaces"),
        ("/spec/template/image", json!("relay :1"), "without spaces"),
        ("/spec/template/metadata", json!({"labels": {"a b": "x"}}), "such as team"),
        ("/spec/template/metadata", json!({"annotations": {"a/b/c": "x"}}), "such as team"),
        ("/spec/template/nodeSelector", json!({"": "x"}), "such as team"),
        ("/spec/template/nodeSelector", json!({"kubernetes.io/os": "linux"}), ""),
        ("/spec/service/ipFamilies", json!(["IPv6", "IPv6"]), "leave one out"),
        ("/spec/service/ipFamilies", json!(["IPv6", "IPv4"]), ""),
        ("/spec/service/loadBalancerSourceRanges", json!(["everywhere"]), "must be networks"),
        ("/spec/service/loadBalancerSourceRanges", json!(["10.0.0.1"]), "must be networks"),
        ("/spec/service/loadBalancerSourceRanges", json!(["10.0.0.0/8", "2001:db8::/32"]), ""),
        ("/spec/template/metadata", json!({"labels": {"baton.dev/pool": "x"}}), "another prefix"),
        (
            "/spec/template/metadata",
            json!({"annotations": {"baton.dev/drain": "x"}}),
            "another prefix",
        ),
        ("/spec/template/metadata", json!({"annotations": {"baton.dev/restartedAt": "x"}}), ""),
        ("/spec/service", json!({"type": "ClusterIP", "nodePort": 30443}), "needs service.type"),
        (
            "/spec/service",
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Local"}),
            "needs service.type",
        ),
        (
            "/spec/service",
            json!({"type": "NodePort", "loadBalancerClass": "example.com/one"}),
            "need service.type LoadBalancer",
        ),
    ];
    for (pointer, value, expected) in cases {
        let said = refusal(pointer, value.clone());
        if expected.is_empty() {
            assert_eq!(said, None, "{pointer}: {value}");
        } else {
            let said = said.unwrap_or_else(|| panic!("{pointer}: {value} is accepted"));
            assert!(said.contains(expected), "{pointer}: {value}: {said}");
        }
    }
}

#[test]
fn bounds_are_in_the_schema() {
    let schema = schema();
    let cases = [
        ("spec/properties/replicas", "minimum", json!(0)),
        ("spec/properties/replicas", "maximum", json!(100)),
        ("spec/properties/drain/properties/graceSeconds", "minimum", json!(1)),
        ("spec/properties/template/properties/image", "minLength", json!(1)),
        (
            "spec/properties/template/properties/resources/properties/limits/additionalProperties",
            "minimum",
            json!(0),
        ),
        ("spec/properties/template/properties/env/items/properties/name", "maxLength", json!(253)),
        ("spec/properties/rollout/properties/maxDraining", "maximum", json!(16)),
        ("spec/properties/rollout/properties/maxSurge", "x-kubernetes-int-or-string", json!(true)),
        ("spec/properties/rollout/properties/maxSurge", "nullable", json!(false)),
        ("spec/properties/auth/properties/mode", "enum", json!(["Token", "Open"])),
        ("status/properties/drains", "maxItems", json!(32)),
        ("status/properties/drains", "x-kubernetes-list-map-keys", json!(["uid"])),
        ("status/properties/conditions", "x-kubernetes-list-map-keys", json!(["type"])),
    ];
    for (path, keyword, expected) in cases {
        let found =
            schema.pointer(&format!("/properties/{path}")).unwrap_or_else(|| panic!("{path}"));
        let number = found[keyword].as_f64();
        assert!(
            found[keyword] == expected || number.is_some() && number == expected.as_f64(),
            "{path}: {keyword}: {found}"
        );
    }
}

#[test]
fn defaults_are_those_of_the_page() {
    let spec = pool()["spec"].clone();
    let cases = [
        ("/replicas", json!(3)),
        ("/minReadySeconds", json!(5)),
        ("/progressDeadlineSeconds", json!(600)),
        ("/revisionHistoryLimit", json!(5)),
        ("/paused", json!(false)),
        ("/service/type", json!("LoadBalancer")),
        ("/service/port", json!(443)),
        ("/auth/mode", json!("Token")),
        ("/limits/maxSessionsPerPod", json!(10_000)),
        ("/drain/graceSeconds", json!(60)),
        ("/drain/lingerSeconds", json!(10)),
        ("/drain/maxSessionsPerSecond", json!(500)),
        ("/drain/onDelete", json!("Drain")),
        ("/rollout/maxSurge", json!(1)),
        ("/rollout/maxUnavailable", json!(0)),
        ("/rollout/maxDraining", json!(1)),
        ("/disruption/podDisruptionBudget", json!("Managed")),
        ("/disruption/maxUnavailable", json!(1)),
    ];
    for (pointer, expected) in cases {
        assert_eq!(spec.pointer(pointer), Some(&expected), "{pointer}");
        // The API server fills in the same.
        let schema = schema();
        let path = pointer.replace('/', "/properties/");
        let default = schema.pointer(&format!("/properties/spec{path}/default"));
        assert_eq!(default, Some(&expected), "{pointer}");
    }
}
