//! Whole stories as transcripts. `UPDATE_GOLDEN=1 cargo test --package baton-operator` writes them anew;
//! read the difference before you commit it.

use std::path::Path;

use serde_json::json;

use super::sim::Sim;
use super::world::Image;

fn expect(name: &str, sim: &Sim) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests/golden");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, &sim.transcript).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == sim.transcript,
        "the story of {name} is another; UPDATE_GOLDEN=1 writes it anew:\n{}",
        sim.transcript
    );
}

/// `(moved, left, forced, silent)`
fn outcome(sim: &Sim) -> (i64, i64, i64, i64) {
    let rollout = sim.status().rollout.as_ref().unwrap();
    (rollout.moved, rollout.left, rollout.forced, rollout.silent)
}

#[test]
fn a_pool_comes_up() {
    let mut sim = Sim::new(json!({"template": {"image": "relay:a"}}));
    sim.run_until(60, "complete", Sim::is_complete);
    assert_eq!(sim.reason("Ready"), "True/Serving");
    expect("comes-up", &sim);
}

#[test]
fn an_upgrade_moves_every_session() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"; 3]);
    assert_eq!(outcome(&sim), (30, 0, 0, 0));
    expect("upgrade", &sim);
}

#[test]
fn an_upgrade_without_surge_goes_one_by_one() {
    let rollout = json!({"maxSurge": 0, "maxUnavailable": 1});
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}, "rollout": rollout}));
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(outcome(&sim), (30, 0, 0, 0));
    expect("upgrade-without-surge", &sim);
}

#[test]
fn sessions_that_do_not_leave_are_closed_at_the_deadline_and_counted_as_forced() {
    let mut sim = Sim::up(json!({"replicas": 1, "template": {"image": "relay:clingy"}}));
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(outcome(&sim), (5, 0, 5, 0));
    expect("deadline", &sim);
}

#[test]
fn an_image_that_cannot_be_pulled_costs_no_old_pod() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}, "progressDeadlineSeconds": 90}));
    sim.image(Image::Missing);
    sim.run(30);
    assert_eq!(sim.serving(), ["relay:a"; 3]);
    assert_eq!(sim.reason("Degraded"), "True/PodsFailing");
    assert!(sim.message("Degraded").contains("image relay:missing cannot be pulled"));
    assert_eq!(sim.reason("Ready"), "True/Serving");
    assert_eq!(sim.reason("Stalled"), "False/AsExpected");
    sim.run(90);
    assert_eq!(sim.reason("Progressing"), "False/ProgressDeadlineExceeded");
    assert_eq!(sim.reason("Stalled"), "True/ProgressDeadlineExceeded");
    sim.image(Image::A);
    sim.run_until(60, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:a"; 3]);
    assert_eq!(sim.reason("Degraded"), "False/AsExpected");
    expect("missing-image", &sim);
}

#[test]
fn a_process_that_ends_costs_no_old_pod() {
    for unavailable in [0, 1] {
        let rollout = json!({"maxUnavailable": unavailable});
        let mut sim = Sim::up(json!({"template": {"image": "relay:a"}, "rollout": rollout}));
        sim.image(Image::Crashing);
        sim.run(60);
        assert_eq!(sim.serving(), ["relay:a"; 3]);
        assert_eq!(sim.reason("Degraded"), "True/PodsFailing");
        let message = sim.message("Degraded");
        assert!(message.ends_with("does not start: Crashing: error: invalid value"), "{message}");
        sim.image(Image::B);
        sim.run_until(300, "complete", Sim::is_complete);
        assert_eq!(sim.serving(), ["relay:b"; 3]);
    }
}

#[test]
fn a_revert_in_the_middle_undrains_first_and_loses_nothing() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:clingy"}}));
    sim.image(Image::B);
    sim.run_until(60, "draining", |sim| sim.status().counts.draining == 1);
    sim.run(3);
    sim.image(Image::Clingy);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:clingy"; 3]);
    assert_eq!(outcome(&sim), (20, 0, 0, 0), "the surge pods' sessions moved back");
    expect("revert", &sim);
}

#[test]
fn a_newer_image_in_the_middle_is_where_it_goes() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    sim.image(Image::Missing);
    sim.run(10);
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"; 3]);
    expect("newer-image", &sim);
}

#[test]
fn scaling_down_drains() {
    let mut sim = Sim::up(json!({"replicas": 5, "template": {"image": "relay:a"}}));
    sim.edit(json!({"replicas": 2}));
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving().len(), 2);
    assert_eq!(sim.sums, [30, 0, 0, 0]);
    assert_eq!(outcome(&sim), (0, 0, 0, 0), "no rollout moved them");
    expect("scale-down", &sim);
}

#[test]
fn scaling_up_again_undrains_before_it_makes_a_pod() {
    let mut sim = Sim::up(json!({"replicas": 3, "template": {"image": "relay:clingy"}}));
    sim.edit(json!({"replicas": 2}));
    sim.run(3);
    assert_eq!(sim.status().counts.draining, 1);
    sim.edit(json!({"replicas": 4}));
    sim.run_until(60, "complete", Sim::is_complete);
    expect("scale-up-again", &sim);
}

#[test]
fn scaling_to_nothing_closes() {
    let mut sim = Sim::up(json!({"replicas": 2, "template": {"image": "relay:a"}}));
    sim.edit(json!({"replicas": 0}));
    sim.run_until(100, "complete", Sim::is_complete);
    assert_eq!(sim.pods.len(), 0);
    assert_eq!(sim.reason("Ready"), "True/ScaledToZero");
    let reasons: Vec<_> = sim.status().drains.iter().map(|drain| drain.reason.as_str()).collect();
    assert_eq!(reasons, ["closing"; 2]);
}

#[test]
fn a_paused_pool_finishes_what_drains_and_starts_nothing() {
    let mut sim =
        Sim::up(json!({"template": {"image": "relay:clingy"}, "drain": {"graceSeconds": 20}}));
    sim.image(Image::B);
    sim.run_until(60, "draining", |sim| sim.status().counts.draining == 1);
    sim.edit(json!({"paused": true}));
    sim.run(600);
    assert_eq!(sim.reason("Progressing"), "False/Paused");
    assert_eq!(sim.serving(), ["relay:b", "relay:b", "relay:clingy", "relay:clingy"]);
    sim.edit(json!({"paused": false}));
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"; 3]);
    expect("paused", &sim);
}

#[test]
fn a_paused_pool_replaces_a_dead_pod_by_one_as_it_was() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    sim.edit(json!({"paused": true, "template": {"image": "relay:b"}}));
    sim.run(2);
    sim.pod(0).unwrap().evict();
    sim.run(30);
    assert_eq!(sim.serving(), ["relay:a"; 3]);
}

#[test]
fn a_pod_that_dies_while_the_new_image_fails_is_replaced_by_one_that_works() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    sim.image(Image::Missing);
    sim.run(10);
    sim.pods.iter_mut().find(|pod| pod.image == Image::A).unwrap().evict();
    sim.run(30);
    assert_eq!(sim.serving(), ["relay:a"; 3]);
}

#[test]
fn the_floor_is_restored_by_undraining_when_new_pods_die() {
    let mut sim = Sim::up(json!({"replicas": 1, "template": {"image": "relay:clingy"}}));
    sim.image(Image::B);
    sim.run_until(60, "draining", |sim| sim.status().counts.draining == 1);
    let now = sim.now;
    sim.pods.iter_mut().find(|pod| pod.image == Image::B).unwrap().exit(now, None);
    sim.second();
    assert_eq!(sim.serving(), ["relay:clingy"]);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"]);
    expect("floor-restored", &sim);
}

#[test]
fn an_operator_that_dies_at_any_step_changes_nothing_of_the_end() {
    for turns_before in 0..60 {
        for steps in 0..3 {
            let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
            sim.image(Image::B);
            sim.run(turns_before);
            sim.dies_after = Some(steps);
            sim.run_until(300, "complete", Sim::is_complete);
            assert_eq!(outcome(&sim), (30, 0, 0, 0), "died at {turns_before} after {steps}");
        }
    }
}

#[test]
fn a_pod_that_its_node_cannot_end_holds_no_rollout_up() {
    let mut sim =
        Sim::new(json!({"template": {"image": "relay:a"}, "drain": {"graceSeconds": 30}}));
    sim.run(1);
    sim.pod(0).unwrap().lost = true;
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"; 3]);
    assert_eq!(sim.seen().len(), 4, "it is still there, and counts for nothing");
    for pod in &mut sim.pods {
        pod.lost = false;
    }
    sim.run_until(60, "gone", |sim| sim.seen().len() == 3);
    assert!(sim.is_complete());
}
