//! The restricted Pod Security Standard, as far as a pod of a Deployment can break it:
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use serde_json::Value;

/// What the standard would say against the pod; empty if it may run.
pub(crate) fn violations(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    for (host, what) in
        [(pod.host_network, "hostNetwork"), (pod.host_pid, "hostPID"), (pod.host_ipc, "hostIPC")]
    {
        must(host != Some(true), what);
    }
    must(pod.volumes.iter().flatten().all(is_allowed), "volumes of a kind that is not allowed");
    let security = pod.security_context.clone().unwrap_or_default();
    must(security.sysctls.is_none(), "sysctls");
    must(security.se_linux_options.is_none(), "seLinuxOptions");
    must(security.app_armor_profile.is_none(), "appArmorProfile");
    must(security.run_as_user != Some(0), "runAsUser 0");
    let defaults = (
        security.run_as_non_root == Some(true),
        security.seccomp_profile.is_some_and(|profile| is_confined(&profile.type_)),
    );
    for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
        check_container(container, defaults, &mut must);
    }
    found
}

fn check_container(
    container: &Container,
    (pod_is_non_root, pod_is_confined): (bool, bool),
    must: &mut impl FnMut(bool, &str),
) {
    let security = container.security_context.clone().unwrap_or_default();
    must(security.privileged != Some(true), "privileged");
    must(security.allow_privilege_escalation == Some(false), "allowPrivilegeEscalation");
    must(security.run_as_non_root.unwrap_or(pod_is_non_root), "runAsNonRoot");
    must(security.run_as_user != Some(0), "runAsUser 0");
    must(
        security.seccomp_profile.map_or(pod_is_confined, |profile| is_confined(&profile.type_)),
        "seccompProfile",
    );
    must(security.se_linux_options.is_none(), "seLinuxOptions");
    must(security.app_armor_profile.is_none(), "appArmorProfile");
    must(security.proc_mount.is_none(), "procMount");
    let capabilities = security.capabilities.unwrap_or_default();
    must(capabilities.drop.iter().flatten().any(|name| name == "ALL"), "capabilities.drop");
    must(
        capabilities.add.iter().flatten().all(|name| name == "NET_BIND_SERVICE"),
        "capabilities.add",
    );
    must(container.ports.iter().flatten().all(|port| port.host_port.is_none()), "hostPort");
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    for http in probes.into_iter().flatten().filter_map(|probe| probe.http_get.as_ref()) {
        must(http.host.is_none(), "host of a probe");
    }
}

fn is_confined(profile: &str) -> bool {
    matches!(profile, "RuntimeDefault" | "Localhost")
}

/// Volumes are told by the name of their one field beside `name`.
fn is_allowed(volume: &Volume) -> bool {
    const ALLOWED: [&str; 9] = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else { return false };
    fields.keys().all(|field| ALLOWED.contains(&field.as_str()))
}
