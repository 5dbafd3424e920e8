//! A relay pod, in the one shape that this operator knows (`POD_SHAPE` 1): the drain contract's table
//! "What the pod is given", line by line. Another shape of the same fields needs another number, or an
//! upgrade of the operator would make pods that are unlike their siblings under the same name.

use std::collections::BTreeMap;

use baton_crds::{AuthMode, ImagePullPolicy, RelayPoolSpec, Resources};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector, Pod,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::owned;
use crate::names;
use crate::plan::action::SecretKind;
use crate::plan::snapshot::Pool;
use crate::revision::Rolls;

/// Files that only the relay's group may read.
const SECRET_MODE: i32 = 0o440;

/// After so many seconds without having been ready once, a relay is started again. It waits for its
/// seeds, which come only while an operator runs.
const STARTUP_SECONDS: i32 = 600;

/// What a relay that no longer answers gets to end: it has nothing to say to its sessions any more.
const LIVENESS_GRACE_SECONDS: i64 = 30;

/// The pod `name` of the revision `hash`, which holds `rolls`.
#[must_use]
pub fn render(pool: &Pool, rolls: &Rolls, hash: &str, name: String) -> Pod {
    let template = &rolls.template;
    let mut metadata = owned(pool, name);
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in &template.metadata.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    labels.insert(names::REVISION_LABEL.to_owned(), hash.to_owned());
    labels.insert(names::PHASE_LABEL.to_owned(), names::SERVING.to_owned());
    if !template.metadata.annotations.is_empty() {
        metadata.annotations = Some(template.metadata.annotations.clone());
    }
    Pod { metadata, spec: Some(spec(pool, rolls)), status: None }
}

fn spec(pool: &Pool, rolls: &Rolls) -> PodSpec {
    let template = &rolls.template;
    PodSpec {
        containers: vec![container(pool, rolls)],
        volumes: Some(volumes(pool, rolls)),
        // The process faces the internet; it needs nothing of the API.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Always".to_owned()),
        termination_grace_period_seconds: Some(rolls.termination_grace_seconds()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(names::RELAY_USER),
            run_as_group: Some(names::RELAY_USER),
            fs_group: Some(names::RELAY_USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: some(&template.image_pull_secrets),
        node_selector: (!template.node_selector.is_empty()).then(|| template.node_selector.clone()),
        affinity: template.affinity.clone(),
        tolerations: some(&template.tolerations),
        topology_spread_constraints: Some(spread(pool, &template.topology_spread_constraints)),
        priority_class_name: template.priority_class_name.clone(),
        service_account_name: template.service_account_name.clone(),
        ..PodSpec::default()
    }
}

fn container(pool: &Pool, rolls: &Rolls) -> Container {
    let template = &rolls.template;
    Container {
        name: names::RELAY_CONTAINER.to_owned(),
        image: Some(template.image.clone()),
        image_pull_policy: template.image_pull_policy.map(pull_policy),
        args: some(&template.args),
        env: Some(environment(pool, rolls)),
        ports: Some(vec![
            port("quic", names::PUBLIC_PORT, "UDP"),
            port("mesh", names::MESH_PORT, "UDP"),
            port("admin", names::ADMIN_PORT, "TCP"),
        ]),
        resources: resources(&template.resources),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            timeout_seconds: Some(1),
            failure_threshold: Some(STARTUP_SECONDS),
            ..probe("/readyz")
        }),
        // Slow to give up: a pod that turns unready loses its live flows at once, for good
        // (docs/decisions/0002).
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            ..probe("/readyz")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            termination_grace_period_seconds: Some(LIVENESS_GRACE_SECONDS),
            ..probe("/livez")
        }),
        volume_mounts: Some(mounts(rolls)),
        // A relay that cannot start says why on its standard error only; the pool's conditions repeat it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn environment(pool: &Pool, rolls: &Rolls) -> Vec<EnvVar> {
    let RelayPoolSpec { limits, .. } = &pool.spec;
    let mode = match rolls.auth_mode {
        AuthMode::Token => "token",
        AuthMode::Open => "open",
    };
    let mut variables = vec![
        variable("BATON_POOL", names::audience(&pool.namespace, &pool.name)),
        downward("BATON_POD_NAME", "metadata.name"),
        downward("BATON_POD_UID", "metadata.uid"),
        downward("BATON_POD_IP", "status.podIP"),
        variable("BATON_TERMINATION_GRACE_SECONDS", rolls.termination_grace_seconds().to_string()),
        variable("BATON_LINGER_SECONDS", rolls.linger_seconds.to_string()),
        variable("BATON_AUTH_MODE", mode.to_owned()),
        variable("BATON_MAX_SESSIONS", limits.max_sessions_per_pod.to_string()),
        variable("BATON_LOG", rolls.template.log_level.clone()),
    ];
    variables.extend(rolls.template.env.iter().cloned());
    variables
}

/// Name, path and source of each volume.
fn volumes(pool: &Pool, rolls: &Rolls) -> Vec<Volume> {
    let annotation = |path: &str, annotation: &str| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(field(&format!("metadata.annotations['{annotation}']"))),
        ..DownwardAPIVolumeFile::default()
    };
    let secret = |name: &str, kind: SecretKind| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(kind.name(&pool.name)),
            default_mode: Some(SECRET_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let mut volumes = vec![
        Volume {
            name: "podinfo".to_owned(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![
                    annotation("drain", names::DRAIN_ANNOTATION),
                    annotation("seeds", names::SEEDS_ANNOTATION),
                ]),
                ..DownwardAPIVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "state".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
        secret("pool", SecretKind::Pool),
        secret("tls", SecretKind::Certificate),
    ];
    if rolls.auth_mode == AuthMode::Token {
        volumes.push(secret("auth", SecretKind::Auth));
    }
    volumes
}

fn mounts(rolls: &Rolls) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("podinfo", "/etc/baton/podinfo", true),
        mount("state", "/var/lib/baton", false),
        mount("pool", "/etc/baton/pool", true),
        mount("tls", "/etc/baton/tls", true),
    ];
    if rolls.auth_mode == AuthMode::Token {
        mounts.push(mount("auth", "/etc/baton/auth", true));
    }
    mounts
}

/// The owner's, or one that spreads the pool's pods over the nodes where that is possible.
fn spread(pool: &Pool, wanted: &[TopologySpreadConstraint]) -> Vec<TopologySpreadConstraint> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    let selector = BTreeMap::from([(names::POOL_LABEL.to_owned(), pool.name.clone())]);
    vec![TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    }]
}

fn resources(resources: &Resources) -> Option<ResourceRequirements> {
    let amounts = |amounts: &BTreeMap<String, IntOrString>| {
        (!amounts.is_empty()).then(|| {
            amounts.iter().map(|(name, amount)| (name.clone(), quantity(amount))).collect()
        })
    };
    let (requests, limits) = (amounts(&resources.requests), amounts(&resources.limits));
    if requests.is_none() && limits.is_none() {
        return None;
    }
    Some(ResourceRequirements { requests, limits, claims: None })
}

fn quantity(amount: &IntOrString) -> Quantity {
    Quantity(match amount {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    })
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::ADMIN_PORT),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

fn port(name: &str, number: i32, protocol: &str) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    }
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn downward(name: &str, path: &str) -> EnvVar {
    let source = EnvVarSource { field_ref: Some(field(path)), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { api_version: None, field_path: path.to_owned() }
}

fn pull_policy(policy: ImagePullPolicy) -> String {
    match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    }
    .to_owned()
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::tests::pool;

    fn rendered(spec: Value) -> Value {
        let pool = pool(spec);
        let pod = render(&pool, &Rolls::of(&pool.spec), "hash", "edge-hash-0".to_owned());
        serde_json::to_value(pod).unwrap()
    }

    fn container(pod: &Value) -> &Value {
        &pod["spec"]["containers"][0]
    }

    /// Shape 1 is what pods in the field are made of: a change of this text needs a new shape.
    #[test]
    fn the_pod_of_shape_1_never_changes() {
        let pod = rendered(json!({"template": {"image": "relay:1", "args": ["--workers=1"]}}));
        let golden: Value = serde_json::from_str(include_str!("pod.golden.json")).unwrap();
        assert!(pod == golden, "{pod:#}");
    }

    #[test]
    fn a_mode_without_tokens_mounts_no_secret_of_tokens() {
        let open = rendered(json!({"auth": {"mode": "Open"}}));
        let text = open.to_string();
        assert!(!text.contains("edge-auth") && !text.contains("/etc/baton/auth"), "{text}");
        assert_eq!(container(&open)["env"][6], json!({"name": "BATON_AUTH_MODE", "value": "open"}));
    }

    #[test]
    fn the_grace_is_all_that_a_pod_may_have_to_do_and_a_margin() {
        let pod = rendered(json!({"drain": {"graceSeconds": 120, "lingerSeconds": 20}}));
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 150);
        let env = &container(&pod)["env"];
        assert_eq!(env[4]["value"], "150");
        assert_eq!(env[5]["value"], "20");
    }

    #[test]
    fn what_the_owner_wrote_is_there_and_does_not_replace_what_is_ours() {
        let pod = rendered(json!({"template": {
            "image": "relay:2",
            "metadata": {
                "labels": {"team": "net", "app.kubernetes.io/name": "other"},
                "annotations": {"baton.dev/restartedAt": "now"},
            },
            "env": [{"name": "EXTRA", "value": "1"}],
            "resources": {"requests": {"cpu": 1}, "limits": {"memory": "64Mi"}},
            "nodeSelector": {"disk": "fast"},
            "topologySpreadConstraints": [
                {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            ],
        }}));
        assert_eq!(pod["metadata"]["labels"]["team"], "net");
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "baton-relay");
        assert_eq!(pod["metadata"]["annotations"]["baton.dev/restartedAt"], "now");
        assert_eq!(container(&pod)["env"][9]["name"], "EXTRA");
        let resources = json!({"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}});
        assert_eq!(container(&pod)["resources"], resources);
        assert_eq!(pod["spec"]["nodeSelector"]["disk"], "fast");
        assert_eq!(pod["spec"]["topologySpreadConstraints"][0]["maxSkew"], 2);
    }
}
