//! Whatever happens, in whatever order: what `Sim` checks of every act holds, and when it ends, the pool
//! comes to rest as it is wanted.

use proptest::prelude::*;
use serde_json::json;

use super::sim::Sim;
use super::world::Image;

#[derive(Debug, Clone)]
enum Event {
    Wait(usize),
    Image(Image),
    Replicas(i32),
    Rollout(i32, i32, i32),
    Paused(bool),
    Crash(usize),
    Evict(usize),
    Delete(usize),
    Flap(usize),
    Unreachable(usize, bool),
    Lost(usize, bool),
    OperatorDies(usize),
}

fn events() -> impl Strategy<Value = Event> {
    let image = prop_oneof![
        Just(Image::A),
        Just(Image::B),
        Just(Image::Clingy),
        Just(Image::Deaf),
        Just(Image::Missing),
        Just(Image::Crashing),
    ];
    prop_oneof![
        6 => (1_usize..40).prop_map(Event::Wait),
        4 => image.prop_map(Event::Image),
        2 => (0..6).prop_map(Event::Replicas),
        1 => (0..3, 0..3, 1..4).prop_map(|(surge, unavailable, draining)| {
            Event::Rollout(surge, unavailable, draining)
        }),
        1 => any::<bool>().prop_map(Event::Paused),
        2 => any::<usize>().prop_map(Event::Crash),
        1 => any::<usize>().prop_map(Event::Evict),
        2 => any::<usize>().prop_map(Event::Delete),
        2 => any::<usize>().prop_map(Event::Flap),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(pod, is)| Event::Unreachable(pod, is)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pod, is)| Event::Lost(pod, is)),
        3 => (0_usize..4).prop_map(Event::OperatorDies),
    ]
}

fn happen(sim: &mut Sim, event: &Event) {
    let now = sim.now;
    match *event {
        Event::Wait(seconds) => return sim.run(seconds),
        Event::Image(image) => sim.image(image),
        Event::Replicas(replicas) => sim.edit(json!({"replicas": replicas})),
        Event::Rollout(surge, unavailable, draining) => sim.edit(json!({"rollout": {
            "maxSurge": surge, "maxUnavailable": unavailable, "maxDraining": draining,
        }})),
        Event::Paused(paused) => sim.edit(json!({"paused": paused})),
        Event::OperatorDies(steps) => sim.dies_after = Some(steps),
        Event::Crash(pod)
        | Event::Evict(pod)
        | Event::Delete(pod)
        | Event::Flap(pod)
        | Event::Unreachable(pod, _)
        | Event::Lost(pod, _) => {
            let Some(pod) = sim.pod(pod) else { return };
            match *event {
                Event::Crash(_) if !pod.seen.is_going() => pod.exit(now, None),
                Event::Evict(_) if !pod.seen.is_going() => pod.evict(),
                Event::Delete(_) => pod.delete(now),
                Event::Flap(_) => pod.flap(now),
                Event::Unreachable(_, is) => pod.unreachable = is,
                Event::Lost(_, is) => pod.lost = is,
                _ => {}
            }
            let name = pod.seen.name.clone();
            sim.note(&format!("{event:?}: {name}"));
        }
    }
    sim.second();
}

proptest! {
    // PROPTEST_CASES=5000 looks further.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_every_act_is_allowed_and_the_pool_comes_to_rest(
        story in proptest::collection::vec(events(), 1..25),
    ) {
        let mut sim = Sim::new(json!({"template": {"image": "relay:a"}, "drain": {"graceSeconds": 30}}));
        for event in &story {
            happen(&mut sim, event);
        }
        // The faults end, and somebody sets an image that works.
        sim.dies_after = None;
        for pod in &mut sim.pods {
            pod.lost = false;
            pod.unreachable = false;
        }
        sim.edit(json!({"paused": false, "replicas": 3, "template": {"image": "relay:b"}}));
        sim.run_until(1500, "complete", Sim::is_complete);
        prop_assert_eq!(sim.serving(), ["relay:b"; 3]);
        // A pod that is over its grace counts for nothing, so it may still be there: its node takes it away.
        sim.run_until(120, "what was going is gone", |sim| sim.seen().len() == 3);
        // At rest, it stays at rest.
        let before = sim.transcript.len();
        sim.run(120);
        prop_assert_eq!(&sim.transcript[before..], "");
    }
}
