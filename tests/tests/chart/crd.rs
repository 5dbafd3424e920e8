//! The RelayPool definition in the chart.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::chart::{file, only, render, render_defaults, yaml};

const KEEP: &str = "helm.sh/resource-policy";

fn annotations(crds: &Value) -> Value {
    let objects = render(&json!({"crds": crds}));
    only(&objects, "CustomResourceDefinition").value["metadata"]["annotations"].clone()
}

#[test]
fn the_definition_is_the_generated_file() {
    let objects = render_defaults();
    let rendered = only(&objects, "CustomResourceDefinition");
    let generated = yaml(&file("files/relaypools.baton.dev.yaml"));
    assert_eq!(rendered.value["spec"], generated["spec"]);
    assert_eq!(rendered.name(), "relaypools.baton.dev");
    let typed: CustomResourceDefinition = rendered.typed();
    assert_eq!(typed.spec.group, "baton.dev");
}

#[test]
fn the_chart_has_the_definition_that_the_types_generate() {
    let generated = include_str!("../../../crds/relaypools.baton.dev.yaml");
    let same = file("files/relaypools.baton.dev.yaml") == generated;
    assert!(same, "mend it: cp crds/relaypools.baton.dev.yaml charts/baton/files/");
}

#[test]
fn the_definition_and_so_the_pools_survive_an_uninstall() {
    assert_eq!(annotations(&json!({}))[KEEP], "keep");
    assert!(annotations(&json!({"keep": false})).get(KEEP).is_none());
}

#[test]
fn the_definition_can_come_from_elsewhere() {
    let objects = render(&json!({"crds": {"enabled": false}}));
    assert!(objects.iter().all(|object| object.kind() != "CustomResourceDefinition"));
}
