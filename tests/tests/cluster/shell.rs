//! What a person does in a shell: `eval "$(make -s cluster-env)"`, then kubectl.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use baton_cluster::control::Connection;
use baton_tests::cluster;
use baton_tests::flows::until_new_flow_reaches;
use baton_tests::outside::Outside;
use baton_tests::shell::{run, shell};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::stage;

/// Runs it with `input` on standard input.
async fn run_with(script: &str, input: &str) {
    let mut child = shell(script).stdin(Stdio::piped()).spawn().expect("sh runs");
    let mut stdin = child.stdin.take().expect("it has an input");
    stdin.write_all(input.as_bytes()).await.expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "`{script}` failed");
}

#[tokio::test]
async fn kubectl_shows_every_node_ready_and_of_one_version() {
    cluster::test_on_ours("nodes", "it knows the version", async |namespace| {
        let status = Connection::open().await.unwrap().status().await.unwrap();
        let printed = run("kubectl get nodes --no-headers").await;
        let nodes: Vec<Vec<&str>> =
            printed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(nodes.len(), usize::from(status.shape.nodes), "{printed}");
        for node in &nodes {
            assert_eq!((node[1], node[4]), ("Ready", status.kubernetes.as_str()), "{printed}");
        }
        let version = run("kubectl version").await;
        assert_eq!(version.matches(&status.kubernetes).count(), 2, "client and server: {version}");
        namespace.figure("Ready nodes", format!("{} of {}", nodes.len(), status.kubernetes));
        namespace.figure("control groups", &status.cgroups);
        let mib = status.memory_bytes >> 20;
        assert!(mib < 3 << 10, "the cluster takes {mib} MiB");
        namespace.figure("memory of all its processes, MiB", mib);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_answers_on_its_node_port_and_its_balancer_address_from_outside() {
    cluster::test_on_ours("deployment", "it wants a load balancer", async |namespace| {
        let name = namespace.name();
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "echo"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "testpod"}},
                "template": {
                    "metadata": {"labels": {"app": "testpod"}},
                    "spec": {"containers": [{
                        "name": "testpod",
                        "image": stage::image().await,
                        "env": [{
                            "name": "POD_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                        }],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                    }]},
                },
            },
        });
        run_with(&format!("kubectl --namespace {name} apply -f -"), &deployment.to_string()).await;
        run(&format!("kubectl --namespace {name} rollout status deployment/echo")).await;

        let balanced = stage::balanced_service(namespace).await;
        let services: Api<Service> = namespace.api();
        let service = services.get("testpod").await.unwrap();
        let ports = service.spec.unwrap().ports.unwrap();
        let node_port = u16::try_from(ports[0].node_port.unwrap()).unwrap();
        let nodes: Api<Node> = Api::all(namespace.client());
        let node = &nodes.list(&ListParams::default()).await.unwrap().items[0];
        let addresses = node.status.as_ref().unwrap().addresses.as_ref().unwrap();
        let address = addresses.iter().find(|address| address.type_ == "InternalIP").unwrap();
        let on_node = SocketAddr::new(address.address.parse().unwrap(), node_port);

        let outside = Outside::create().await;
        for pod in cluster::ready_pods(namespace, 3).await {
            for target in [on_node, balanced] {
                until_new_flow_reaches(&outside, target, &pod.name_any()).await;
            }
        }
        let mut http = outside.connect(SocketAddr::new(balanced.ip(), 80)).await.unwrap();
        assert_eq!(status_of(&mut http).await, "HTTP/1.1 200 OK");
        namespace.figure("pods reached by node port and by balancer", "3 of 3");
    })
    .await;
}

#[tokio::test]
async fn kubectl_logs_exec_and_port_forward_work() {
    cluster::test("kubectl", async |namespace| {
        let name = namespace.name();
        let pod = baton_tests::testpod::TestPod::new("pod", stage::image().await);
        pod.watches("baton.dev/test").create(namespace).await;
        cluster::ready_pods(namespace, 1).await;

        let kubectl = format!("kubectl --namespace {name}");
        assert!(run(&format!("{kubectl} logs pod")).await.contains("at_us"));
        let version = run(&format!("{kubectl} exec pod -- /testpod --version")).await;
        assert!(version.starts_with("baton-testpod "), "{version}");

        let forward = Forward::start(&kubectl).await;
        let mut http = TcpStream::connect((Ipv4Addr::LOCALHOST, forward.port)).await.unwrap();
        assert_eq!(status_of(&mut http).await, "HTTP/1.1 200 OK");
        namespace.figure("kubectl logs, exec, port-forward", "work");
    })
    .await;
}

/// `kubectl port-forward`, until it is dropped.
struct Forward {
    port: u16,
    _kubectl: Child,
    /// kubectl ends when it cannot print any more.
    _printed: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    async fn start(kubectl: &str) -> Self {
        // `exec`: killing the child ends kubectl, not only the shell in front of it.
        let mut child =
            shell(&format!("exec {kubectl} port-forward pod/pod :8080")).spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(Duration::from_secs(20), printed.next_line()).await;
        let line = line.expect("port-forward says its port in time").unwrap().expect("a line");
        let port = line.split(' ').find_map(|word| word.strip_prefix("127.0.0.1:"));
        let port = port.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { port, _kubectl: child, _printed: printed }
    }
}

/// The first line of the answer to `GET /ready`.
async fn status_of(http: &mut TcpStream) -> String {
    let request = b"GET /ready HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n";
    http.write_all(request).await.unwrap();
    let mut lines = BufReader::new(http).lines();
    let line = timeout(Duration::from_secs(10), lines.next_line()).await;
    line.expect("an answer in time").unwrap().unwrap_or_default()
}
