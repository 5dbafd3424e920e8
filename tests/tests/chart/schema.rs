//! What the chart refuses, and how it says so.

use serde_json::{Value, json};

use crate::chart::{default_values, file, refusal, render};

#[test]
fn wrong_values_are_refused_with_their_place_and_what_is_wrong() {
    for (values, place, reason) in [
        (json!({"replicas": 2}), "at ''", "'replicas' not allowed"),
        (json!({"image": {"repo": "a"}}), "at '/image'", "'repo' not allowed"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "at '/image/pullPolicy'", "'IfNotPresent'"),
        (json!({"image": {"repository": ""}}), "at '/image/repository'", "minLength"),
        (json!({"image": {"tag": "a b"}}), "at '/image/tag'", "does not match pattern"),
        (json!({"image": {"tag": 1.1}}), "at '/image/tag'", "want string"),
        (json!({"image": {"digest": "sha256:1"}}), "at '/image/digest'", "does not match pattern"),
        (json!({"imagePullSecrets": ["key"]}), "at '/imagePullSecrets/0'", "want object"),
        (json!({"log": 1}), "at '/log'", "want string"),
        (json!({"watchNamespaces": "edge"}), "at '/watchNamespaces'", "want array"),
        (json!({"watchNamespaces": ["Edge"]}), "at '/watchNamespaces/0'", "does not match pattern"),
        (json!({"watchNamespaces": ["a", "a"]}), "at '/watchNamespaces'", "are equal"),
        (json!({"env": {"A": "b"}}), "at '/env'", "want array"),
        (json!({"crds": {"enabled": "yes"}}), "at '/crds/enabled'", "want boolean"),
        (json!({"crds": {"install": true}}), "at '/crds'", "'install' not allowed"),
        (json!({"podLabels": {"a": 1}}), "at '/podLabels/a'", "want string"),
        (json!({"resources": {"cpu": "1"}}), "at '/resources'", "'cpu' not allowed"),
        (json!({"metrics": {"podMonitor": {}}}), "at '/metrics'", "'podMonitor' not allowed"),
        (
            json!({"metrics": {"relays": {"podMonitor": {"interval": "often"}}}}),
            "at '/metrics/relays/podMonitor/interval'",
            "does not match pattern",
        ),
        (json!({"dashboards": {"labelValue": 1}}), "at '/dashboards/labelValue'", "want string"),
    ] {
        let said = refusal(&values);
        assert!(said.contains(place) && said.contains(reason), "{values}: {said}");
    }
}

#[test]
fn a_parent_chart_may_share_its_globals() {
    assert!(!render(&json!({"global": {"imageRegistry": "registry.example"}})).is_empty());
}

#[test]
fn values_and_schema_name_the_same_options() {
    let schema: Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    check(&default_values(), &schema, &schema, "");
}

fn check(values: &Value, schema: &Value, root: &Value, path: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let (Some(options), Some(known)) = (values.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} lets typing errors pass");
    for (name, value) in options {
        let known = known.get(name).unwrap_or_else(|| panic!("{path}/{name} is not in the schema"));
        check(value, known, root, &format!("{path}/{name}"));
    }
    for name in known.keys().filter(|name| *name != "global" && *name != "claims") {
        assert!(options.contains_key(name), "{path}/{name} is not in values.yaml");
    }
}
