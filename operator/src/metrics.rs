//! What the operator counts. Labels are bounded: namespaces and names of pools, and words of our own.

use std::collections::BTreeSet;

use baton_crds::{RelayPoolStatus, RolloutState};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::plan::action::{Action, Outcome};

const RESULTS: [&str; 3] = ["ok", "changed", "error"];
const OUTCOMES: [&str; 4] = ["moved", "left", "forced", "silent"];
const POD_STATES: [&str; 4] = ["serving", "starting", "draining", "terminating"];
const ROLLOUT_STATES: [(RolloutState, &str); 7] = [
    (RolloutState::Surging, "surging"),
    (RolloutState::Verifying, "verifying"),
    (RolloutState::Draining, "draining"),
    (RolloutState::Settling, "settling"),
    (RolloutState::Paused, "paused"),
    (RolloutState::Halted, "halted"),
    (RolloutState::Complete, "complete"),
];

/// All of it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    actions: IntCounterVec,
    outcomes: IntCounterVec,
    pods: IntGaugeVec,
    desired: IntGaugeVec,
    updated: IntGaugeVec,
    rollout: IntGaugeVec,
}

impl Metrics {
    /// Everything at zero.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter =
                IntCounterVec::new(Opts::new(format!("baton_operator_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge =
                IntGaugeVec::new(Opts::new(format!("baton_operator_{name}"), help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let pool = ["namespace", "pool"];
        let metrics = Self {
            reconciles: counter(
                "reconciles_total",
                "Turns for a pool, by how they ended",
                &["result"],
            )?,
            actions: counter("plan_actions_total", "Steps carried out", &["action"])?,
            outcomes: counter(
                "drain_outcome_total",
                "Sessions of drained pods, by how they ended the drain; counted once per drain",
                &["namespace", "pool", "outcome"],
            )?,
            pods: gauge(
                "pods",
                "Pods of a pool, by what they do",
                &["namespace", "pool", "state"],
            )?,
            desired: gauge("pods_desired", "Pods that a pool shall have", &pool)?,
            updated: gauge("pods_updated", "Pods of the wanted revision that serve", &pool)?,
            rollout: gauge(
                "rollout_state",
                "1 for the state that the rollout of a pool is in",
                &["namespace", "pool", "state"],
            )?,
            registry: registry.clone(),
        };
        let build = gauge("build_info", "Always 1", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.seed();
        Ok(metrics)
    }

    /// Series that exist from the start can be alerted on before the first time. Those of a pool exist from its first turn on.
    fn seed(&self) {
        for result in RESULTS {
            self.reconciles.with_label_values(&[result]);
        }
        for kind in Action::KINDS {
            self.actions.with_label_values(&[kind]);
        }
    }

    /// A turn ended.
    pub fn reconciled(&self, result: &str) {
        self.reconciles.with_label_values(&[result]).inc();
    }

    /// A step was carried out.
    pub fn acted(&self, action: &Action) {
        self.actions.with_label_values(&[action.kind()]).inc();
    }

    /// A drain of this pool was counted.
    pub fn drained(&self, namespace: &str, pool: &str, outcome: &Outcome) {
        let counts = [outcome.moved, outcome.left, outcome.forced, outcome.silent];
        for (name, count) in OUTCOMES.into_iter().zip(counts) {
            let count = u64::try_from(count).unwrap_or_default();
            self.outcomes.with_label_values(&[namespace, pool, name]).inc_by(count);
        }
    }

    /// A pool is so.
    pub fn observe(&self, namespace: &str, pool: &str, desired: i32, status: &RelayPoolStatus) {
        let counts = status.counts;
        let states = [status.replicas, counts.starting, counts.draining, counts.terminating];
        for (state, count) in POD_STATES.into_iter().zip(states) {
            self.pods.with_label_values(&[namespace, pool, state]).set(count.into());
        }
        for outcome in OUTCOMES {
            self.outcomes.with_label_values(&[namespace, pool, outcome]);
        }
        self.desired.with_label_values(&[namespace, pool]).set(desired.into());
        self.updated.with_label_values(&[namespace, pool]).set(counts.available.into());
        let now = status.rollout.as_ref().map(|rollout| rollout.state);
        for (state, name) in ROLLOUT_STATES {
            let is = i64::from(now == Some(state));
            self.rollout.with_label_values(&[namespace, pool, name]).set(is);
        }
    }

    /// A pool is gone.
    pub fn forget(&self, namespace: &str, pool: &str) {
        // What was never observed cannot be removed, which is no matter.
        for state in POD_STATES {
            let _ = self.pods.remove_label_values(&[namespace, pool, state]);
        }
        for (_, state) in ROLLOUT_STATES {
            let _ = self.rollout.remove_label_values(&[namespace, pool, state]);
        }
        for outcome in OUTCOMES {
            let _ = self.outcomes.remove_label_values(&[namespace, pool, outcome]);
        }
        let _ = self.desired.remove_label_values(&[namespace, pool]);
        let _ = self.updated.remove_label_values(&[namespace, pool]);
    }

    /// As Prometheus reads it.
    ///
    /// # Errors
    /// When a metric has no name.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The names of all metrics, for pages that list them.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.registry.gather().iter().map(|family| family.name().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_zero_and_not_absent() {
        let metrics = Metrics::new().unwrap();
        metrics.observe("apps", "edge", 3, &RelayPoolStatus::default());
        let text = metrics.text().unwrap();
        for series in [
            r#"baton_operator_drain_outcome_total{namespace="apps",outcome="forced",pool="edge"} 0"#,
            r#"baton_operator_reconciles_total{result="error"} 0"#,
            r#"baton_operator_plan_actions_total{action="undrain"} 0"#,
            r#"baton_operator_build_info{version=""#,
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }

    #[test]
    fn a_pool_that_is_gone_leaves_nothing() {
        let metrics = Metrics::new().unwrap();
        let before = metrics.text().unwrap();
        metrics.observe("apps", "edge", 3, &RelayPoolStatus::default());
        let outcome = Outcome { moved: 2, left: 0, forced: 0, silent: 0 };
        metrics.drained("apps", "edge", &outcome);
        let there = metrics.text().unwrap();
        let moved =
            r#"baton_operator_drain_outcome_total{namespace="apps",outcome="moved",pool="edge"} 2"#;
        assert!(there.contains(moved), "{there}");
        let series = r#"baton_operator_pods_desired{namespace="apps",pool="edge"} 3"#;
        assert!(there.contains(series), "{there}");
        metrics.forget("apps", "edge");
        assert_eq!(metrics.text().unwrap(), before);
    }
}
