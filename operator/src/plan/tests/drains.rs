//! How single drains end.

use baton_crds::DrainState;
use serde_json::json;

use super::sim::Sim;
use super::world::Image;

fn one(image: Image) -> Sim {
    let mut sim = Sim::up(json!({"replicas": 1, "template": {"image": image.name()}}));
    sim.image(Image::B);
    sim.run_until(60, "draining", |sim| sim.status().counts.draining == 1);
    sim
}

fn states(sim: &Sim) -> Vec<DrainState> {
    sim.status().drains.iter().map(|drain| drain.state).collect()
}

#[test]
fn a_relay_that_does_not_acknowledge_is_deleted_after_15_seconds_and_drains_by_sigterm() {
    let mut sim = one(Image::Deaf);
    sim.run(13);
    assert!(!sim.transcript.contains("did not acknowledge"), "{}", sim.transcript);
    sim.run(3);
    assert!(sim.transcript.contains("did not acknowledge"), "{}", sim.transcript);
    assert_eq!(states(&sim), [DrainState::Unjudged]);
    assert_eq!(sim.status().rollout.as_ref().unwrap().unjudged, 1);
    sim.run_until(100, "complete", Sim::is_complete);
    assert_eq!(states(&sim), [DrainState::Counted], "its last words were read");
    assert_eq!(sim.status().rollout.as_ref().unwrap().unjudged, 0);
    assert_eq!(sim.sums, [10, 0, 0, 0]);
}

#[test]
fn a_new_operator_asks_for_15_seconds_of_its_own_before_it_gives_a_relay_up() {
    let mut sim = one(Image::Deaf);
    sim.run(10);
    sim.restart_operator();
    sim.run(14);
    assert!(!sim.transcript.contains("did not acknowledge"), "{}", sim.transcript);
    sim.run(2);
    assert!(sim.transcript.contains("did not acknowledge"), "{}", sim.transcript);
}

#[test]
fn a_relay_that_acknowledged_and_falls_silent_has_until_its_deadline() {
    let mut sim = one(Image::Clingy);
    sim.run(3);
    sim.pods.iter_mut().find(|pod| pod.seen.flag.is_some()).unwrap().unreachable = true;
    // Not even a new operator, which has never heard it, takes it for deaf.
    sim.restart_operator();
    sim.run(50);
    assert_eq!(sim.status().counts.draining, 1);
    sim.run_until(100, "complete", Sim::is_complete);
    assert!(sim.transcript.contains("its deadline has passed"), "{}", sim.transcript);
    assert_eq!(sim.sums, [5, 0, 5, 0], "its last words were read");
}

#[test]
fn a_relay_that_ends_after_the_flag_is_drained() {
    let mut sim = one(Image::Clingy);
    sim.run(3);
    let now = sim.now;
    let pod = sim.pods.iter_mut().find(|pod| pod.seen.flag.is_some()).unwrap();
    let words = format!(
        r#"{{"podUid": "{}", "state": "drained", "drain": {{"moved": 7, "left": 3}}}}"#,
        pod.seen.uid
    );
    pod.exit(now, Some(words));
    sim.second();
    assert!(sim.transcript.contains(": drained"), "{}", sim.transcript);
    assert_eq!(sim.sums, [7, 3, 0, 0]);
}

#[test]
fn a_relay_that_crashes_in_its_drain_has_lost_what_was_left() {
    let mut sim = one(Image::Clingy);
    sim.run(3);
    let now = sim.now;
    sim.pods.iter_mut().find(|pod| pod.seen.flag.is_some()).unwrap().exit(now, None);
    sim.run(3);
    assert_eq!(states(&sim), [DrainState::Counted]);
    assert_eq!(sim.sums, [5, 0, 0, 5], "silent: lost before the deadline");
}

#[test]
fn words_of_another_pod_are_not_heard() {
    let mut sim = one(Image::Deaf);
    let now = sim.now;
    let words = r#"{"podUid": "other", "drain": {"moved": 7}}"#.to_owned();
    sim.pods.iter_mut().find(|pod| pod.seen.flag.is_some()).unwrap().exit(now, Some(words));
    sim.second();
    assert_eq!(states(&sim), [DrainState::Unjudged]);
}

#[test]
fn a_flag_that_somebody_else_set_is_taken_away() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    let foreign = crate::render::patch::read_flag("true", None);
    sim.pod(1).unwrap().seen.flag = Some(foreign);
    sim.second();
    assert_eq!(sim.serving().len(), 3);
    assert!(sim.transcript.contains("un-drain"), "{}", sim.transcript);
    sim.run(30);
    assert_eq!(sim.serving().len(), 3);
}

#[test]
fn a_pod_that_somebody_else_deletes_is_replaced() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    let now = sim.now;
    sim.pod(1).unwrap().delete(now);
    sim.second();
    assert!(sim.transcript.contains("create"), "{}", sim.transcript);
    sim.run_until(60, "complete", Sim::is_complete);
    assert_eq!(sim.serving().len(), 3);
}

#[test]
fn a_pod_that_never_ends_blocks_nothing() {
    let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
    let now = sim.now;
    let pod = sim.pod(1).unwrap();
    pod.lost = true;
    pod.delete(now);
    sim.run_until(200, "complete", Sim::is_complete);
    assert_eq!(sim.serving().len(), 3);
    assert_eq!(sim.pods.len(), 4);
    sim.image(Image::B);
    sim.run_until(300, "complete", Sim::is_complete);
    assert_eq!(sim.serving(), ["relay:b"; 3]);
}
