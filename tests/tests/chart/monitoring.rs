//! PodMonitors and the dashboard's ConfigMap.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::chart::{NAMESPACE, Object, file, only, render, render_defaults};

fn monitor(of: &str, settings: &Value, more: &Value) -> Object {
    let mut values = more.clone();
    values["metrics"] = json!({of: {"podMonitor": settings}});
    only(&render(&values), "PodMonitor").clone()
}

#[test]
fn there_is_no_pod_monitor_unless_it_is_asked_for() {
    assert!(render_defaults().iter().all(|object| object.kind() != "PodMonitor"));
}

#[test]
fn relays_are_found_by_their_name_in_all_namespaces() {
    let spec = &monitor("relays", &json!({"enabled": true}), &json!({})).value["spec"];
    let expected = json!({
        "selector": {"matchLabels": {"app.kubernetes.io/name": "baton-relay"}},
        "namespaceSelector": {"any": true},
        "podTargetLabels": ["baton.dev/pool"],
        "podMetricsEndpoints": [{"port": "admin", "path": "/metrics"}],
    });
    assert_eq!(spec, &expected);
}

#[test]
fn relays_are_found_only_where_the_operator_serves() {
    let more = json!({"watchNamespaces": ["edge"]});
    let spec = &monitor("relays", &json!({"enabled": true}), &more).value["spec"];
    assert_eq!(spec["namespaceSelector"], json!({"matchNames": ["edge"]}));
}

#[test]
fn the_operator_is_found_and_its_word_on_namespaces_counts() {
    let spec = &monitor("operator", &json!({"enabled": true}), &json!({})).value["spec"];
    let deployment = only(&render_defaults(), "Deployment").value["spec"].clone();
    assert_eq!(spec["selector"], deployment["selector"]);
    assert_eq!(spec["namespaceSelector"], json!({"matchNames": [NAMESPACE]}));
    let port = &deployment["template"]["spec"]["containers"][0]["ports"][0]["name"];
    let endpoint = json!({"port": port, "path": "/metrics", "honorLabels": true});
    assert_eq!(spec["podMetricsEndpoints"], json!([endpoint]));
}

#[test]
fn each_pod_monitor_takes_its_settings() {
    for of in ["relays", "operator"] {
        let relabeling = json!([{"targetLabel": "cluster", "replacement": "c1"}]);
        let settings = json!({
            "enabled": true,
            "labels": {"release": "prometheus"},
            "interval": "15s",
            "scrapeTimeout": "5s",
            "relabelings": relabeling,
            "metricRelabelings": relabeling,
        });
        let monitor = monitor(of, &settings, &json!({})).value;
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        for field in ["interval", "scrapeTimeout", "relabelings", "metricRelabelings"] {
            assert_eq!(endpoint[field], settings[field], "{of}: {field}");
        }
    }
}

#[test]
fn the_dashboard_is_where_grafana_looks_for_it() {
    let objects = render_defaults();
    let map: ConfigMap = only(&objects, "ConfigMap").typed();
    assert_eq!(map.metadata.labels.unwrap()["grafana_dashboard"], "1");
    assert_eq!(map.metadata.annotations.unwrap()["grafana_folder"], "Baton");
    assert_eq!(map.metadata.namespace.as_deref(), Some(NAMESPACE));
    let rendered: Value = serde_json::from_str(&map.data.unwrap()["baton.json"]).unwrap();
    let ours: Value = serde_json::from_str(&file("files/dashboards/baton.json")).unwrap();
    assert_eq!(rendered, ours);
}

#[test]
fn the_dashboard_goes_where_it_is_sent() {
    let objects = render(&json!({"dashboards": {
        "namespace": "monitoring",
        "label": "look_here",
        "labelValue": "yes",
        "folderAnnotation": "k8s-sidecar-target-directory",
        "folder": "/tmp/baton",
        "annotations": {"more": "of it"},
    }}));
    let map: ConfigMap = only(&objects, "ConfigMap").typed();
    assert_eq!(map.metadata.namespace.as_deref(), Some("monitoring"));
    assert_eq!(map.metadata.labels.unwrap()["look_here"], "yes");
    let annotations = map.metadata.annotations.unwrap();
    assert_eq!(annotations["k8s-sidecar-target-directory"], "/tmp/baton");
    assert_eq!(annotations["more"], "of it");
    let none = render(&json!({"dashboards": {"enabled": false}}));
    assert!(none.iter().all(|object| object.kind() != "ConfigMap"));
}
