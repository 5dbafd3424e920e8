//! The last words of a deleted pod reach whoever watches it.

use std::collections::BTreeMap;
use std::pin::pin;

use baton_tests::cluster::{self, load_image, ready_pods};
use baton_tests::images;
use baton_tests::testpod::TestPod;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::{Instant, timeout};

const PODS: usize = 50;

/// A report of the size that a relay leaves.
fn message(pod: &str) -> String {
    format!("{pod} {}", "x".repeat(900))
}

#[tokio::test]
async fn a_deleted_pod_shows_its_termination_message_to_a_watcher() {
    cluster::test_alone("termination_message", async |namespace| {
        let image = images::testpod().await;
        load_image(image).await;
        let names: Vec<String> = (0..PODS).map(|number| format!("pod-{number}")).collect();
        for name in &names {
            // restartPolicy is Always, the default: what matters is that the pod is being deleted.
            TestPod::new(name, &image.name).leaves(&message(name)).create(namespace).await;
        }
        ready_pods(namespace, PODS).await;

        let pods: Api<Pod> = namespace.api();
        let mut events = pin!(watcher(pods.clone(), watcher::Config::default()));
        let mut shown = BTreeMap::new();
        let mut gone = 0;
        let mut complete = false;
        let started = Instant::now();
        let watching = async {
            while gone < PODS {
                match events.next().await.expect("a watch does not end").expect("no error") {
                    Event::InitDone => {
                        assert!(!complete, "the watch began again: it may have missed something");
                        complete = true;
                        let all = ListParams::default();
                        pods.delete_collection(&DeleteParams::default(), &all)
                            .await
                            .expect("deleted");
                    }
                    Event::Apply(pod) | Event::InitApply(pod) => note(&mut shown, &pod),
                    Event::Delete(pod) => {
                        note(&mut shown, &pod);
                        gone += 1;
                    }
                    Event::Init => {}
                }
            }
        };
        timeout(cluster::DEADLINE, watching).await.expect("every pod goes in time");
        for name in &names {
            assert_eq!(shown.get(name), Some(&message(name)), "the last words of {name}");
        }
        namespace.figure("messages shown", format!("{} of {PODS}", shown.len()));
        namespace.figure("all pods gone after, s", started.elapsed().as_secs());
    })
    .await;
}

fn note(shown: &mut BTreeMap<String, String>, pod: &Pod) {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let terminated = statuses.filter_map(|s| s.state.as_ref()?.terminated.as_ref());
    for message in terminated.filter_map(|terminated| terminated.message.clone()) {
        shown.insert(pod.name_any(), message);
    }
}
