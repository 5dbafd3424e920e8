//! `docs/crd.md` has a row for each field, and what it says of when a change takes effect is so.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input fails")]

use std::collections::{BTreeMap, BTreeSet};

use baton_crds::RelayPoolStatus;
use baton_operator::plan::snapshot::Pool;
use baton_operator::render;
use baton_operator::revision::Rolls;
use serde_json::{Value, json};

/// Another value for each field.
fn changes() -> BTreeMap<&'static str, Value> {
    [
        ("replicas", json!(4)),
        ("minReadySeconds", json!(6)),
        ("progressDeadlineSeconds", json!(601)),
        ("revisionHistoryLimit", json!(6)),
        ("paused", json!(true)),
        ("template.metadata.labels", json!({"a": "b"})),
        ("template.metadata.annotations", json!({"baton.dev/restartedAt": "now"})),
        ("template.image", json!("relay:2")),
        ("template.imagePullPolicy", json!("Always")),
        ("template.imagePullSecrets", json!([{"name": "a"}])),
        ("template.resources.requests", json!({"cpu": 1})),
        ("template.resources.limits", json!({"cpu": "1"})),
        ("template.args", json!(["--a"])),
        ("template.env", json!([{"name": "A", "value": "b"}])),
        ("template.logLevel", json!("debug")),
        ("template.nodeSelector", json!({"a": "b"})),
        ("template.affinity", json!({"podAntiAffinity": {}})),
        ("template.tolerations", json!([{"operator": "Exists"}])),
        (
            "template.topologySpreadConstraints",
            json!([{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"}]),
        ),
        ("template.priorityClassName", json!("a")),
        ("template.serviceAccountName", json!("a")),
        ("service.type", json!("NodePort")),
        ("service.port", json!(444)),
        ("service.nodePort", json!(30443)),
        ("service.annotations", json!({"a": "b"})),
        ("service.loadBalancerClass", json!("a")),
        ("service.loadBalancerSourceRanges", json!(["192.0.2.0/24"])),
        ("service.externalTrafficPolicy", json!("Local")),
        ("service.ipFamilyPolicy", json!("SingleStack")),
        ("service.ipFamilies", json!(["IPv6"])),
        ("auth.mode", json!("Open")),
        ("limits.maxSessionsPerPod", json!(1)),
        ("drain.graceSeconds", json!(61)),
        ("drain.lingerSeconds", json!(11)),
        ("drain.maxSessionsPerSecond", json!(1)),
        ("drain.onDelete", json!("Immediate")),
        ("rollout.maxSurge", json!(2)),
        ("rollout.maxUnavailable", json!(1)),
        ("rollout.maxDraining", json!(2)),
        ("disruption.podDisruptionBudget", json!("None")),
        ("disruption.maxUnavailable", json!(2)),
    ]
    .into()
}

/// Field, default, when it takes effect.
fn rows() -> BTreeMap<String, (String, String)> {
    let page = include_str!("../../docs/crd.md");
    let table = page.split("## Fields").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), cells[3].to_owned()))
    })
    .collect()
}

/// The fields of the schema, down to where a value begins.
fn fields() -> BTreeSet<String> {
    let definition = baton_crds::definition().unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = BTreeSet::new();
    collect("", spec, &mut fields);
    fields
}

fn collect(path: &str, schema: &Value, fields: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) if path != "template.affinity" => {
            for (name, property) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, property, fields);
            }
        }
        _ => {
            fields.insert(path.to_owned());
        }
    }
}

fn pool(change: Option<(&str, &Value)>) -> Pool {
    let mut spec = json!({"template": {"image": "relay:1"}});
    if let Some((path, value)) = change {
        let place = path.split('.').fold(&mut spec, |place, part| {
            if place.is_null() {
                *place = json!({});
            }
            &mut place[part]
        });
        *place = value.clone();
    }
    Pool {
        namespace: "apps".to_owned(),
        name: "edge".to_owned(),
        uid: "uid".to_owned(),
        generation: 1,
        spec: serde_json::from_value(spec).unwrap(),
        status: RelayPoolStatus::default(),
        has_finalizer: true,
        deleted_at: None,
        namespace_terminating: false,
    }
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let rows: BTreeSet<String> = rows().into_keys().collect();
    assert_eq!(rows, fields());
    let changed: BTreeSet<String> = changes().into_keys().map(str::to_owned).collect();
    assert_eq!(changed, fields(), "this test changes every field");
}

#[test]
fn a_change_takes_effect_when_the_page_says() {
    let rows = rows();
    let render = |pool: &Pool| {
        let rolls = Rolls::of(&pool.spec);
        (rolls.hash(), render::pod::render(pool, &rolls, "hash", "edge-hash-0".to_owned()))
    };
    let (hash, pod) = render(&pool(None));
    for (field, value) in changes() {
        let changed = pool(Some((field, &value)));
        assert_ne!(changed.spec, pool(None).spec, "{field} is changed");
        let (changed_hash, changed_pod) = render(&changed);
        let effect = match (changed_hash != hash, changed_pod != pod) {
            (true, _) => "Rolls",
            (false, true) => "Next pod",
            (false, false) => "Live",
        };
        assert_eq!(effect, rows[field].1, "{field}");
    }
}

#[test]
fn defaults_are_those_of_the_schema() {
    let definition = baton_crds::definition().unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for (field, (default, _)) in rows() {
        let schema = field.split('.').fold(spec, |schema, part| &schema["properties"][part]);
        let Some(expected) = schema.get("default") else { continue };
        if expected.is_object() || expected.is_array() {
            assert_eq!(default, "none", "{field}");
            continue;
        }
        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
        assert_eq!(default, expected, "{field}");
    }
}
