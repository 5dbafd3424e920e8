//! The operator's Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use serde_json::{Value, json};

use crate::chart::{only, render, render_defaults};
use crate::restricted::violations;

fn deployment(values: &Value) -> Deployment {
    only(&render(values), "Deployment").typed()
}

fn pod(values: &Value) -> PodSpec {
    deployment(values).spec.unwrap().template.spec.unwrap()
}

fn container(values: &Value) -> Container {
    let mut containers = pod(values).containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

fn image(values: &Value) -> String {
    container(&json!({"image": values})).image.unwrap()
}

#[test]
fn there_is_one_operator_at_a_time() {
    let spec = deployment(&json!({})).spec.unwrap();
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));
}

#[test]
fn its_selector_matches_its_pod_and_no_relay() {
    let spec = deployment(&json!({})).spec.unwrap();
    let selected = spec.selector.match_labels.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert!(selected.iter().all(|(name, value)| labels.get(name) == Some(value)));
    assert_eq!(selected["app.kubernetes.io/name"], "baton-operator");
    assert!(!selected.contains_key("app.kubernetes.io/version"), "a selector cannot be changed");
}

#[test]
fn its_pod_meets_the_restricted_standard() {
    assert_eq!(violations(&pod(&json!({}))), [""; 0]);
    let security = container(&json!({})).security_context.unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(pod(&json!({})).security_context.unwrap().run_as_user, Some(65532));
}

#[test]
fn a_pod_that_breaks_the_standard_is_told_from_one_that_does_not() {
    for (values, expected) in [
        (json!({"podSecurityContext": {"runAsUser": 0}}), "runAsUser 0"),
        (json!({"podSecurityContext": {"runAsNonRoot": null}}), "runAsNonRoot"),
        (
            json!({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile",
        ),
        (json!({"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}), "capabilities.drop"),
        (json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}), "capabilities.add"),
        (
            json!({"securityContext": {"allowPrivilegeEscalation": null}}),
            "allowPrivilegeEscalation",
        ),
        (json!({"securityContext": {"privileged": true}}), "privileged"),
    ] {
        assert_eq!(violations(&pod(&values)), [expected], "{values}");
    }
}

#[test]
fn its_health_is_asked_at_the_admin_port() {
    let container = container(&json!({}));
    let ports = container.ports.unwrap();
    assert_eq!((ports[0].name.as_deref(), ports[0].container_port), (Some("admin"), 8080));
    let path = |probe: Option<Probe>| probe.unwrap().http_get.unwrap().path.unwrap();
    assert_eq!(path(container.liveness_probe), "/livez");
    assert_eq!(path(container.readiness_probe), "/readyz");
}

#[test]
fn its_arguments_come_from_the_values() {
    assert_eq!(container(&json!({})).args.unwrap(), ["--log=info"]);
    let args = container(&json!({
        "log": "info,baton_operator=debug",
        "watchNamespaces": ["edge", "core"],
        "extraArgs": ["--more"],
    }))
    .args
    .unwrap();
    let expected =
        ["--log=info,baton_operator=debug", "--namespace=edge", "--namespace=core", "--more"];
    assert_eq!(args, expected);
}

#[test]
fn its_image_is_the_charts_version_unless_told() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image(&json!({})), format!("registry.example/baton-operator:{version}"));
    assert_eq!(image(&json!({"repository": "a/b", "tag": "c"})), "a/b:c");
    let digest = format!("sha256:{}", "0f".repeat(32));
    assert_eq!(
        image(&json!({"tag": "c", "digest": digest})),
        format!("registry.example/baton-operator:c@{digest}")
    );
}

#[test]
fn it_has_a_token_and_its_account_gives_none_to_others() {
    let objects = render_defaults();
    assert_eq!(only(&objects, "ServiceAccount").value["automountServiceAccountToken"], false);
    let pod = pod(&json!({}));
    assert_eq!(pod.automount_service_account_token, Some(true));
    assert_eq!(pod.service_account_name.as_deref(), Some(only(&objects, "ServiceAccount").name()));
}
