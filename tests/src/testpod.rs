//! Pods that run `testpod`.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::TestNamespace;

/// The UDP port that a test pod echoes on.
pub const UDP_PORT: u16 = 9000;
/// The HTTP port of its readiness.
pub const HTTP_PORT: u16 = 8080;

/// A pod to be made.
#[derive(Debug, Clone)]
pub struct TestPod {
    name: String,
    image: String,
    node: Option<String>,
    grace_seconds: u32,
    arguments: Vec<String>,
    annotations: Value,
    watched_annotation: Option<String>,
}

impl TestPod {
    /// A pod that echoes, is ready, and ends at once when told to.
    #[must_use]
    pub fn new(name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            node: None,
            grace_seconds: 1,
            arguments: Vec::new(),
            annotations: json!({}),
            watched_annotation: None,
        }
    }

    /// On this node, whatever the scheduler thinks.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Goes on as before for the whole of its termination grace.
    #[must_use]
    pub fn lingers(mut self, grace_seconds: u32) -> Self {
        self.grace_seconds = grace_seconds;
        // Longer than the grace: the kubelet ends it, not the pod itself.
        self.arguments.push(format!("--linger-seconds={}", grace_seconds + 60));
        self
    }

    /// Leaves a termination message when it is told to end.
    #[must_use]
    pub fn leaves(mut self, message: &str) -> Self {
        self.grace_seconds = 10;
        self.arguments.push(format!("--termination-message={message}"));
        self
    }

    /// Reports every change of one of its annotations, as it sees it in a downward-API file.
    #[must_use]
    pub fn watches(mut self, annotation: &str) -> Self {
        self.arguments.push("--watch=/podinfo/annotation".to_owned());
        self.watched_annotation = Some(annotation.to_owned());
        self
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": self.name,
                "labels": {"app": "testpod"},
                "annotations": self.annotations,
            },
            "spec": {
                "terminationGracePeriodSeconds": self.grace_seconds,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [{
                    "name": "testpod",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": self.arguments,
                    "env": [{
                        "name": "POD_NAME",
                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                    }],
                    "ports": [
                        {"containerPort": UDP_PORT, "protocol": "UDP"},
                        {"containerPort": HTTP_PORT},
                    ],
                    "readinessProbe": {
                        "httpGet": {"path": "/ready", "port": HTTP_PORT},
                        "periodSeconds": 1,
                        "failureThreshold": 1,
                    },
                    "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": true,
                        "runAsNonRoot": true,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }],
            },
        });
        if let Some(node) = &self.node {
            pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        if let Some(annotation) = &self.watched_annotation {
            let path = format!("metadata.annotations['{annotation}']");
            let item = json!({"path": "annotation", "fieldRef": {"fieldPath": path}});
            pod["spec"]["volumes"] = json!([{"name": "podinfo", "downwardAPI": {"items": [item]}}]);
            pod["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "podinfo", "mountPath": "/podinfo"}]);
        }
        serde_json::from_value(pod).expect("a pod is a pod")
    }

    /// Makes the pod.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn create(&self, namespace: &TestNamespace) {
        let pods: Api<Pod> = namespace.api();
        let created = pods.create(&PostParams::default(), &self.object()).await;
        created.unwrap_or_else(|error| panic!("pod {}: {error}", self.name));
    }
}

/// Makes a Service of this type for every test pod of the namespace, and returns it.
///
/// # Panics
/// When the API server refuses it.
pub async fn create_service(namespace: &TestNamespace, kind: &str) -> Service {
    let services: Api<Service> = namespace.api();
    let service = json!({
        "metadata": {"name": "testpod"},
        "spec": {
            "type": kind,
            "selector": {"app": "testpod"},
            "ports": [
                {"name": "echo", "protocol": "UDP", "port": UDP_PORT, "targetPort": UDP_PORT},
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": HTTP_PORT},
            ],
        },
    });
    let service = serde_json::from_value(service).expect("a Service is a Service");
    services.create(&PostParams::default(), &service).await.expect("the Service is made")
}

/// Deletes a pod, with the grace that it was made with. Returns when the API server has noted it.
///
/// # Panics
/// When the API server refuses.
pub async fn delete(namespace: &TestNamespace, pod: &str) {
    let pods: Api<Pod> = namespace.api();
    pods.delete(pod, &DeleteParams::default()).await.expect("the pod can be deleted");
}

/// Makes a pod ready or not; the kubelet notices at its next probe, within a second.
///
/// # Panics
/// When the pod does not take the order.
pub async fn set_ready(namespace: &TestNamespace, pod: &str, ready: bool) {
    // By the API server's proxy, so that it works on every cluster.
    let path = format!(
        "/api/v1/namespaces/{}/pods/{pod}:{HTTP_PORT}/proxy/ready?ready={ready}",
        namespace.name()
    );
    namespace.post(&path).await;
}
