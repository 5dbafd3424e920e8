//! What nobody can write into a pool, and what is said to who tries.

use baton_tests::cluster::{self, TestNamespace};
use baton_tests::shell::shell;
use serde_json::{Value, json};

/// A change of a good pool, and words of the answer: what is wrong, and what to change.
type Row = (&'static str, Value, &'static [&'static str]);

fn table() -> Vec<Row> {
    const NAME: &[&str] = &["metadata.name must be at most 40 lower-case letters"];
    const DEADLINE: &[&str] = &[
        "spec.progressDeadlineSeconds must be greater than",
        "spec.drain.graceSeconds",
        "raise it",
    ];
    const PERCENT: &[&str] = &["should match", "%$"];
    let key: &[&str] = &["a key must be a name of at most 63", "such as team"];
    vec![
        ("/metadata/name", json!("edge.one"), NAME),
        ("/metadata/name", json!("e".repeat(41)), NAME),
        ("/metadata/name", json!("1edge"), NAME),
        ("/spec/replica", json!(3), &["unknown field \"spec.replica\""]),
        ("/spec/drain/grace", json!(60), &["unknown field \"spec.drain.grace\""]),
        ("/spec/template", json!({}), &["spec.template.image: Required value"]),
        ("/spec/template/image", json!(""), &["spec.template.image must be the name of an image"]),
        ("/spec/template/image", json!("relay 1"), &["without spaces, such as"]),
        ("/spec/replicas", json!(-1), &["spec.replicas", "greater than or equal to 0"]),
        ("/spec/replicas", json!(101), &["spec.replicas", "less than or equal to 100"]),
        ("/spec/replicas", json!("three"), &["spec.replicas", "must be of type integer"]),
        ("/spec/minReadySeconds", json!(-1), &["minReadySeconds", "greater than or equal to 0"]),
        ("/spec/minReadySeconds", json!(600), DEADLINE),
        ("/spec/revisionHistoryLimit", json!(21), &["less than or equal to 20"]),
        ("/spec/paused", json!("yes"), &["spec.paused", "must be of type boolean"]),
        ("/spec/progressDeadlineSeconds", json!(0), &["greater than or equal to 1"]),
        ("/spec/progressDeadlineSeconds", json!(65), DEADLINE),
        ("/spec/drain/graceSeconds", json!(0), &["graceSeconds", "greater than or equal to 1"]),
        ("/spec/drain/graceSeconds", json!(-5), &["graceSeconds", "greater than or equal to 1"]),
        ("/spec/drain/graceSeconds", json!(600), DEADLINE),
        ("/spec/drain/graceSeconds", json!(86_401), &["less than or equal to 86400"]),
        ("/spec/drain/graceSeconds", json!("60s"), &["graceSeconds", "must be of type integer"]),
        ("/spec/drain/lingerSeconds", json!(1), &["lingerSeconds", "greater than or equal to 2"]),
        ("/spec/drain/lingerSeconds", json!(601), &["less than or equal to 600"]),
        ("/spec/drain/maxSessionsPerSecond", json!(-1), &["greater than or equal to 0"]),
        ("/spec/drain/onDelete", json!("Never"), &["\"Drain\", \"Immediate\""]),
        ("/spec/rollout/maxSurge", json!(-1), &["maxSurge", "greater than or equal to 0"]),
        ("/spec/rollout/maxSurge", json!("150%"), PERCENT),
        ("/spec/rollout/maxUnavailable", json!("one"), PERCENT),
        ("/spec/rollout/maxDraining", json!(0), &["maxDraining", "greater than or equal to 1"]),
        ("/spec/rollout/maxDraining", json!(17), &["maxDraining", "less than or equal to 16"]),
        (
            "/spec/service/type",
            json!("Ingress"),
            &["\"LoadBalancer\", \"NodePort\", \"ClusterIP\""],
        ),
        ("/spec/service/port", json!(0), &["service.port", "greater than or equal to 1"]),
        ("/spec/service/port", json!(65_536), &["service.port", "less than or equal to 65535"]),
        (
            "/spec/service",
            json!({"type": "ClusterIP", "nodePort": 30443}),
            &["nodePort needs service.type"],
        ),
        (
            "/spec/service",
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Local"}),
            &["externalTrafficPolicy needs service.type NodePort or LoadBalancer"],
        ),
        (
            "/spec/service",
            json!({"type": "NodePort", "loadBalancerClass": "example.com/one"}),
            &["service.loadBalancerClass", "need service.type LoadBalancer"],
        ),
        (
            "/spec/service/loadBalancerSourceRanges",
            json!(["everywhere"]),
            &["must be networks, such as"],
        ),
        ("/spec/service/loadBalancerSourceRanges", json!([]), &["at least 1 items"]),
        (
            "/spec/service/ipFamilies",
            json!(["IPv4", "IPv4"]),
            &["names a family twice", "leave one out"],
        ),
        ("/spec/service/ipFamilies", json!(["IPv5"]), &["\"IPv4\", \"IPv6\""]),
        ("/spec/auth/mode", json!("None"), &["\"Token\", \"Open\""]),
        ("/spec/limits/maxSessionsPerPod", json!(0), &["greater than or equal to 1"]),
        ("/spec/disruption/podDisruptionBudget", json!("Yes"), &["\"Managed\", \"None\""]),
        ("/spec/disruption/maxUnavailable", json!("50"), PERCENT),
        (
            "/spec/template/imagePullPolicy",
            json!("Sometimes"),
            &["\"Always\", \"IfNotPresent\", \"Never\""],
        ),
        ("/spec/template/logLevel", json!(""), &["logLevel", "at least 1 chars"]),
        ("/spec/template/args", json!(vec!["--x"; 65]), &["at most 64 items"]),
        (
            "/spec/template/env",
            json!([{"name": "BATON_POOL"}]),
            &["BATON_POOL", "set by the operator", "use the field"],
        ),
        ("/spec/template/env", json!([{"name": "A"}, {"name": "A"}]), &["Duplicate value"]),
        ("/spec/template/env", json!([{"name": "A=B"}]), &["must not hold '='"]),
        (
            "/spec/template/metadata",
            json!({"labels": {"baton.dev/pool": "x"}}),
            &["choose another prefix"],
        ),
        (
            "/spec/template/metadata",
            json!({"annotations": {"baton.dev/drain": "x"}}),
            &["but for baton.dev/restartedAt"],
        ),
        ("/spec/template/metadata", json!({"labels": {"a b": "x"}}), key),
        ("/spec/template/metadata", json!({"annotations": {"a b": "x"}}), key),
        (
            "/spec/template/metadata",
            json!({"labels": {"a": "x y"}}),
            &["metadata.labels.a", "should match"],
        ),
        ("/spec/template/nodeSelector", json!({"a b": "x"}), key),
        (
            "/spec/template/resources",
            json!({"limits": {"cpu": "lots"}}),
            &["limits.cpu", "should match"],
        ),
        (
            "/spec/template/resources",
            json!({"limits": {"cpu": -1}}),
            &["limits.cpu", "greater than or equal to 0"],
        ),
    ]
}

fn good() -> Value {
    json!({
        "apiVersion": "baton.dev/v1alpha1",
        "kind": "RelayPool",
        "metadata": {"name": "edge"},
        "spec": {"template": {"image": "registry.example/baton-relay:0.1.0"}},
    })
}

/// The good pool with one change. Objects on the way are made.
fn changed(pointer: &str, value: &Value) -> Value {
    let mut pool = good();
    let mut place = &mut pool;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key];
    }
    *place = value.clone();
    pool
}

/// What the API server says to it, checked as strictly as `kubectl apply` asks for; nothing is kept.
async fn refusal(namespace: &TestNamespace, pool: &Value) -> Option<String> {
    let name = namespace.name();
    let path = format!("/apis/baton.dev/v1alpha1/namespaces/{name}/relaypools");
    let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("Content-Type", "application/json")
        .body(pool.to_string().into_bytes())
        .unwrap();
    match namespace.client().request::<Value>(request).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message.clone()),
        Err(error) => panic!("{pool}: {error}"),
    }
}

#[tokio::test]
async fn pools_that_make_no_sense_are_refused_with_what_to_change() {
    cluster::test("pool-refused", async |namespace| {
        baton_tests::pool::install_operator().await;
        assert_eq!(refusal(namespace, &good()).await, None);
        let mut wrong = Vec::new();
        for (pointer, value, words) in table() {
            match refusal(namespace, &changed(pointer, &value)).await {
                None => wrong.push(format!("{pointer}: {value} is accepted")),
                Some(said) if words.iter().all(|words| said.contains(words)) => {}
                Some(said) => wrong.push(format!("{pointer}: {value}: {said}, without {words:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        namespace.figure("pools that make no sense, refused", table().len());
    })
    .await;
}

#[tokio::test]
async fn kubectl_shows_the_same_words() {
    cluster::test("pool-refused-by-kubectl", async |namespace| {
        baton_tests::pool::install_operator().await;
        let pool = changed("/spec/drain/graceSeconds", &json!(600));
        let create =
            format!("echo '{pool}' | kubectl --namespace {} create -f -", namespace.name());
        let output = shell(&create).stderr(std::process::Stdio::piped()).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("raise it"), "{said}");
    })
    .await;
}
