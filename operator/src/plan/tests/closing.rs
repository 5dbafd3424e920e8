//! The end of a pool, and its Secrets.

use serde_json::json;

use super::sim::Sim;
use crate::plan::snapshot::Presence;

fn deleted(spec: serde_json::Value) -> Sim {
    let mut sim = Sim::up(spec);
    sim.pool.deleted_at = Some(sim.now);
    sim
}

#[test]
fn a_deleted_pool_drains_all_at_once_and_is_released_when_its_pods_are_gone() {
    let mut sim = deleted(json!({"template": {"image": "relay:a"}}));
    sim.second();
    assert_eq!(sim.transcript.matches(": closing").count(), 3, "{}", sim.transcript);
    assert!(sim.reason("Ready") == "False/Closing" && !sim.released);
    sim.run_until(20, "released", |sim| sim.released);
    assert_eq!(sim.pods.len(), 0);
}

#[test]
fn nobody_waits_longer_than_the_grace_and_half_a_minute() {
    let mut sim = deleted(json!({"template": {"image": "relay:a"}, "drain": {"graceSeconds": 20}}));
    for pod in &mut sim.pods {
        pod.lost = true;
    }
    sim.run(50);
    assert!(!sim.released);
    sim.run(2);
    assert!(sim.released);
}

#[test]
fn a_pool_whose_namespace_goes_is_released_at_once() {
    let mut sim = deleted(json!({"template": {"image": "relay:a"}}));
    sim.pool.namespace_terminating = true;
    sim.second();
    assert!(sim.released);
    assert_eq!(sim.transcript.matches("drain").count(), 0, "{}", sim.transcript);
}

#[test]
fn a_pool_that_shall_go_at_once_does() {
    let mut sim =
        deleted(json!({"template": {"image": "relay:a"}, "drain": {"onDelete": "Immediate"}}));
    sim.second();
    assert!(sim.released);
}

#[test]
fn a_secret_that_goes_while_pods_live_is_not_made_again() {
    for lost in 0..4 {
        let mut sim = Sim::up(json!({"template": {"image": "relay:a"}}));
        let secrets = &mut sim.secrets;
        let lost = [&mut secrets.pool, &mut secrets.auth, &mut secrets.ca, &mut secrets.tls]
            .into_iter()
            .nth(lost)
            .unwrap();
        *lost = Presence::Missing;
        sim.pod(0).unwrap().evict();
        sim.edit(json!({"template": {"image": "relay:b"}}));
        sim.run(100);
        assert_eq!(sim.reason("Stalled"), "True/SecretMissing");
        assert_eq!(sim.reason("Degraded"), "True/SecretMissing");
        assert_eq!(sim.serving(), ["relay:a"; 2], "{}", sim.transcript);
        // The way out that the message names.
        sim.edit(json!({"replicas": 0}));
        sim.run_until(100, "complete", Sim::is_complete);
        sim.edit(json!({"replicas": 3}));
        sim.run_until(100, "complete", Sim::is_complete);
        assert_eq!(sim.serving(), ["relay:b"; 3]);
    }
}
