//! What helm prints after an installation.

use serde_json::{Value, json};

use crate::chart::printed;

fn notes(values: &Value) -> String {
    let text = printed(&["install", "baton", "--dry-run=client"], values);
    text.split_once("\nNOTES:\n").expect("the chart has notes").1.to_owned()
}

#[test]
fn the_notes_say_what_to_do_next_and_what_before_an_uninstall() {
    let notes = notes(&json!({}));
    for step in [
        "kubectl --namespace baton-system rollout status deployment/baton-operator",
        "kind: RelayPool",
        "namespace: default",
        "image: registry.example/baton-relay:",
        "delete the pools first",
        "helm uninstall baton --namespace baton-system",
    ] {
        assert!(notes.contains(step), "{step:?} is not in:\n{notes}");
    }
    assert!(!notes.contains("crds.enabled is false") && !notes.contains("crds.keep is false"));
}

#[test]
fn the_notes_know_how_the_chart_was_installed() {
    for (values, expected) in [
        (json!({"crds": {"enabled": false}}), "crds.enabled is false"),
        (json!({"crds": {"keep": false}}), "crds.keep is false"),
        (json!({"watchNamespaces": ["edge", "core"]}), "It serves pools in: edge, core."),
        (json!({"watchNamespaces": ["edge", "core"]}), "namespace: edge"),
        (json!({"dashboards": {"label": "look_here"}}), "look_here=1"),
    ] {
        let notes = notes(&values);
        assert!(notes.contains(expected), "with {values}, {expected:?} is not in:\n{notes}");
    }
}
