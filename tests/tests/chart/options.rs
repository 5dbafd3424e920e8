//! Every option: helm takes it, its lint has nothing against it, and it does something.

use serde_json::{Value, json};

use crate::chart::{default_values, only, printed, refusal, render, render_defaults};

/// A value for every option that is not its default. A new one is missing here until it is written.
fn options() -> Vec<Value> {
    let monitor = json!({"enabled": true, "labels": {"release": "prometheus"}, "interval": "15s",
        "scrapeTimeout": "5s", "relabelings": [{"targetLabel": "a", "replacement": "b"}],
        "metricRelabelings": [{"action": "labeldrop", "regex": "c"}]});
    vec![
        json!({"nameOverride": "relays"}),
        json!({"fullnameOverride": "relays"}),
        json!({"image": {"repository": "registry.example/other"}}),
        json!({"image": {"tag": "1.2.3"}}),
        json!({"image": {"digest": format!("sha256:{}", "0".repeat(64))}}),
        json!({"image": {"pullPolicy": "Always"}}),
        json!({"imagePullSecrets": [{"name": "registry-key"}]}),
        json!({"log": "debug"}),
        json!({"watchNamespaces": ["edge"]}),
        json!({"extraArgs": ["--more"]}),
        json!({"env": [{"name": "A", "value": "b"}]}),
        json!({"crds": {"enabled": false}}),
        json!({"crds": {"keep": false}}),
        json!({"rbac": {"create": false}}),
        json!({"rbac": {"aggregate": false}}),
        json!({"serviceAccount": {"create": false, "name": "somebody"}}),
        json!({"serviceAccount": {"name": "somebody"}}),
        json!({"serviceAccount": {"annotations": {"a": "b"}}}),
        json!({"podLabels": {"a": "b"}}),
        json!({"podAnnotations": {"a": "b"}}),
        json!({"podSecurityContext": {"runAsUser": 1000}}),
        json!({"securityContext": {"runAsUser": 1000}}),
        json!({"resources": {"limits": {"cpu": 1}}}),
        json!({"priorityClassName": "system-cluster-critical"}),
        json!({"nodeSelector": {"a": "b"}}),
        json!({"tolerations": [{"operator": "Exists"}]}),
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}),
        json!({"metrics": {"relays": {"podMonitor": monitor}}}),
        json!({"metrics": {"operator": {"podMonitor": monitor}}}),
        json!({"dashboards": {"enabled": false}}),
        json!({"dashboards": {"namespace": "monitoring"}}),
        json!({"dashboards": {"label": "look_here"}}),
        json!({"dashboards": {"labelValue": "yes"}}),
        json!({"dashboards": {"folderAnnotation": "here"}}),
        json!({"dashboards": {"folder": "Relays"}}),
        json!({"dashboards": {"annotations": {"a": "b"}}}),
        json!({"extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}]}),
    ]
}

/// Paths of all options, such as `image.tag`; an empty map and a list are one option each.
pub(crate) fn paths(values: &Value, prefix: &str, into: &mut Vec<String>) {
    for (name, value) in values.as_object().unwrap() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(fields) if !fields.is_empty() => paths(value, &path, into),
            _ => into.push(path),
        }
    }
}

#[test]
fn lint_finds_nothing() {
    printed(&["lint", "--strict"], &json!({}));
}

#[test]
fn every_option_renders_passes_lint_and_changes_something() {
    let defaults: Vec<String> = render_defaults().into_iter().map(|object| object.text).collect();
    for option in options() {
        let rendered: Vec<String> = render(&option).into_iter().map(|object| object.text).collect();
        assert!(!rendered.is_empty() && rendered != defaults, "{option} changes nothing");
        printed(&["lint", "--strict"], &option);
    }
}

#[test]
fn no_option_is_forgotten() {
    let mut known = Vec::new();
    paths(&default_values(), "", &mut known);
    let mut tried = Vec::new();
    options().iter().for_each(|option| paths(option, "", &mut tried));
    for path in known {
        // These are copied as they are: what is in them makes no difference.
        let copied = ["podSecurityContext", "securityContext", "resources"];
        let is_copied = copied.iter().any(|object| path.starts_with(&format!("{object}.")));
        let is_tried =
            tried.iter().any(|other| *other == path || other.starts_with(&format!("{path}.")));
        assert!(is_tried || is_copied, "{path} is tried nowhere");
    }
}

#[test]
fn names_follow_the_release_and_fit() {
    let long = "a".repeat(50);
    for (values, expected) in [
        (json!({}), "baton-operator".to_owned()),
        (json!({"fullnameOverride": "relays"}), "relays-operator".to_owned()),
        (json!({"nameOverride": "relays"}), "baton-relays-operator".to_owned()),
        (json!({"fullnameOverride": long}), format!("{long}-operator")),
    ] {
        let objects = render(&values);
        assert_eq!(only(&objects, "Deployment").name(), expected);
        assert!(objects.iter().all(|object| object.name().len() <= 63));
    }
}

#[test]
fn more_objects_are_templates_too() {
    let objects = render(&json!({"extraObjects": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-one"}},
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}-two\n",
    ]}));
    assert_eq!(only(&objects, "Secret").name(), "baton-one");
    assert_eq!(only(&objects, "Service").name(), "baton-two");
}

#[test]
fn a_pool_must_not_belong_to_the_release() {
    for pool in [
        json!({"apiVersion": "baton.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": "edge"}}),
        json!("kind: \"RelayPool\"\nmetadata:\n  name: edge\n"),
        json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "RelayPool"}]}),
    ] {
        let said = refusal(&json!({"extraObjects": [pool]}));
        assert!(said.contains("a RelayPool must not belong to this release"), "{said}");
    }
}

#[test]
fn an_account_that_is_not_created_must_be_named() {
    let said = refusal(&json!({"serviceAccount": {"create": false}}));
    assert!(said.contains("serviceAccount.name must be set"), "{said}");
}

#[test]
fn kubernetes_must_be_new_enough() {
    for (version, is_taken) in [("1.32.9", false), ("1.33.0", true), ("1.33.4-gke.100", true)] {
        let output =
            crate::chart::run(&["template", "baton", "--kube-version", version], &json!({}));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_taken, "{version}: {said}");
    }
}
