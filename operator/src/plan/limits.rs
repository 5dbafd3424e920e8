//! The arithmetic of a rollout, as Deployments do it.

use baton_crds::RelayPoolSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How far the planner may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pods that shall serve.
    pub replicas: usize,
    /// Pods beyond that, while others are replaced.
    pub surge: usize,
    /// No action of the operator lets fewer serve.
    pub floor: usize,
    /// Pods that drain at the same time.
    pub draining: usize,
    /// No pod is made beyond this, counting those that drain and those that end within their grace.
    pub ceiling: usize,
}

impl Limits {
    /// Those of a pool.
    #[must_use]
    pub fn of(spec: &RelayPoolSpec) -> Self {
        let replicas = count(spec.replicas);
        let surge = share(&spec.rollout.max_surge, replicas, Round::Up);
        let mut unavailable =
            share(&spec.rollout.max_unavailable, replicas, Round::Down).min(replicas);
        if surge == 0 && unavailable == 0 {
            // Nothing could ever be replaced.
            unavailable = replicas.min(1);
        }
        let draining = count(spec.rollout.max_draining).max(1);
        Self {
            replicas,
            surge,
            floor: replicas - unavailable,
            draining,
            ceiling: replicas + surge + draining,
        }
    }

    /// As many must serve for the pool to be called ready: the floor, and at least one.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.floor.max(self.replicas.min(1))
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A count, or a share of `of`. What the schema does not let in counts as 0.
fn share(value: &IntOrString, of: usize, round: Round) -> usize {
    match value {
        IntOrString::Int(value) => count(*value),
        IntOrString::String(text) => {
            let percent: usize =
                text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_default();
            match round {
                Round::Up => (of * percent).div_ceil(100),
                Round::Down => of * percent / 100,
            }
        }
    }
}

fn count(value: i32) -> usize {
    usize::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(replicas: i32, surge: Value, unavailable: Value) -> (usize, usize) {
        let spec = json!({
            "replicas": replicas,
            "template": {"image": "relay:1"},
            "rollout": {"maxSurge": surge, "maxUnavailable": unavailable},
        });
        let limits = Limits::of(&serde_json::from_value(spec).unwrap());
        (limits.surge, limits.floor)
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let cases = [
            (3, json!(1), json!(0), (1, 3)),
            (3, json!("25%"), json!("25%"), (1, 3)),
            (10, json!("25%"), json!("25%"), (3, 8)),
            (4, json!("25%"), json!("50%"), (1, 2)),
            (3, json!(0), json!(2), (0, 1)),
            (2, json!(0), json!(5), (0, 0)),
            (0, json!(1), json!(0), (1, 0)),
            (3, json!("100%"), json!("100%"), (3, 0)),
        ];
        for (replicas, surge, unavailable, expected) in cases {
            let found = limits(replicas, surge.clone(), unavailable.clone());
            assert_eq!(found, expected, "{replicas}, {surge}, {unavailable}");
        }
    }

    #[test]
    fn if_both_are_nothing_one_may_be_unavailable() {
        for nothing in [json!(0), json!("0%"), json!("nonsense")] {
            assert_eq!(limits(3, nothing.clone(), nothing.clone()), (0, 2), "{nothing}");
            assert_eq!(limits(0, nothing.clone(), nothing), (0, 0));
        }
        // A share that rounds down to nothing is nothing too.
        assert_eq!(limits(3, json!(0), json!("30%")), (0, 2));
    }
}
