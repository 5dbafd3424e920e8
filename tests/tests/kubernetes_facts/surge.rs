//! A pod that joins takes new flows only.

use baton_tests::cluster::{self, ready_pods};
use baton_tests::testpod::TestPod;

use crate::scene::Scene;

#[tokio::test]
async fn a_surge_pod_moves_no_flow() {
    cluster::test("surge", async |namespace| {
        let scene = Scene::set(namespace).await;
        TestPod::new("surge", &scene.image).on(&scene.nodes[1]).create(namespace).await;
        ready_pods(namespace, 4).await;

        let needed = scene.until_new_flow_reaches("surge").await;
        scene.assert_nothing_moved("a surge").await;
        namespace.figure("flows moved by a surge", format!("0 of {}", scene.all().len()));
        namespace.figure("new flows until one reached it", needed);
    })
    .await;
}
