//! What the operator remembers of a pool between its turns. Nothing in here is needed to go on after a
//! restart; it only spares questions, and keeps the last answer of a relay that no longer gives one.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::plan::snapshot::{Probe, RelayPod, RelayStatus, Secrets};

/// Relays with a flag are asked this often...
const DRAINING_MILLISECONDS: i64 = 900;
/// ... and others this often.
const SERVING_MILLISECONDS: i64 = 15_000;
/// How long what is known of Secrets is taken for true.
const SECRETS_MILLISECONDS: i64 = 30_000;

/// Of one pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    asked: BTreeMap<String, Asked>,
    secrets: Option<(Timestamp, Secrets)>,
    /// When numbers were last written to the status.
    pub(crate) numbers_written: Option<Timestamp>,
    /// Failures in a row.
    pub(crate) failures: u32,
}

#[derive(Debug, Clone)]
struct Asked {
    /// About which drain.
    drain: Option<String>,
    since: Timestamp,
    last: Timestamp,
    report: Option<RelayStatus>,
    before_restart: Option<RelayStatus>,
}

impl Memory {
    /// What is known of the pod.
    pub(crate) fn probe(&self, pod: &RelayPod) -> Probe {
        let Some(asked) = self.asked.get(&pod.uid) else { return Probe::default() };
        let same = asked.drain.as_deref() == drain(pod);
        Probe {
            asked_since: same.then_some(asked.since),
            report: asked.report.clone(),
            before_restart: asked.before_restart.clone(),
        }
    }

    /// Is it time to ask the pod?
    pub(crate) fn is_due(&self, pod: &RelayPod, now: Timestamp) -> bool {
        let Some(asked) = self.asked.get(&pod.uid) else { return true };
        let period = if pod.flag.is_some() { DRAINING_MILLISECONDS } else { SERVING_MILLISECONDS };
        asked.drain.as_deref() != drain(pod)
            || now.as_millisecond() - asked.last.as_millisecond() >= period
    }

    /// The pod was asked. What it said before stays if it said nothing now.
    pub(crate) fn note(&mut self, pod: &RelayPod, report: Option<RelayStatus>, now: Timestamp) {
        let asked = self.asked.entry(pod.uid.clone()).or_insert_with(|| Asked {
            drain: None,
            since: now,
            last: now,
            report: None,
            before_restart: None,
        });
        if asked.drain.as_deref() != drain(pod) {
            asked.drain = drain(pod).map(str::to_owned);
            asked.since = now;
        }
        asked.last = now;
        let Some(report) = report else { return };
        let boot = |report: &RelayStatus| report.boot_id.clone();
        if asked.report.as_ref().is_some_and(|before| boot(before) != boot(&report)) {
            asked.before_restart = asked.report.take();
        }
        asked.report = Some(report);
    }

    /// Pods that are gone are forgotten.
    pub(crate) fn keep_only(&mut self, pods: &[RelayPod]) {
        self.asked.retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
    }

    /// The Secrets, if they were looked at not long ago.
    pub(crate) fn secrets(&self, now: Timestamp) -> Option<Secrets> {
        let (seen, secrets) = self.secrets.as_ref()?;
        let age = now.as_millisecond() - seen.as_millisecond();
        (age < SECRETS_MILLISECONDS).then(|| secrets.clone())
    }

    pub(crate) fn forget_secrets(&mut self) {
        self.secrets = None;
    }

    pub(crate) fn note_secrets(&mut self, secrets: Secrets, now: Timestamp) {
        self.secrets = Some((now, secrets));
    }
}

fn drain(pod: &RelayPod) -> Option<&str> {
    pod.flag.as_ref().map(|flag| flag.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::snapshot::{Container, Flag};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(flag: Option<&str>) -> RelayPod {
        RelayPod {
            name: "edge-x-0".into(),
            uid: "u".into(),
            resource_version: String::new(),
            revision: String::new(),
            image: String::new(),
            ip: None,
            ready_since: None,
            finished: false,
            terminating_until: None,
            container: Container::Unknown,
            restarts: 0,
            last_message: None,
            unschedulable: None,
            flag: flag.map(|id| Flag {
                id: id.to_owned(),
                reason: String::new(),
                set_at: at(0),
                restarts: 0,
            }),
            drain_count: 0,
            has_seeds: false,
            probe: Probe::default(),
        }
    }

    fn report(boot: &str, sessions: u32) -> RelayStatus {
        RelayStatus { boot_id: boot.into(), sessions, ..RelayStatus::default() }
    }

    #[test]
    fn relays_that_drain_are_asked_each_second_and_others_seldom() {
        let (serving, draining) = (pod(None), pod(Some("u-1")));
        let mut memory = Memory::default();
        assert!(memory.is_due(&serving, at(0)));
        memory.note(&serving, None, at(0));
        assert!(!memory.is_due(&serving, at(14)));
        assert!(memory.is_due(&serving, at(15)));
        assert!(memory.is_due(&draining, at(0)), "the flag is new");
        memory.note(&draining, None, at(1));
        assert!(!memory.is_due(&draining, at(1)));
        assert!(memory.is_due(&draining, at(2)));
    }

    #[test]
    fn the_time_of_asking_is_that_of_the_present_drain() {
        let mut memory = Memory::default();
        memory.note(&pod(None), None, at(0));
        assert_eq!(memory.probe(&pod(Some("u-1"))).asked_since, None);
        memory.note(&pod(Some("u-1")), None, at(5));
        memory.note(&pod(Some("u-1")), None, at(6));
        assert_eq!(memory.probe(&pod(Some("u-1"))).asked_since, Some(at(5)));
    }

    #[test]
    fn an_answer_stays_until_the_next_and_that_of_an_earlier_process_too() {
        let pod = pod(None);
        let mut memory = Memory::default();
        memory.note(&pod, Some(report("a", 1)), at(0));
        memory.note(&pod, None, at(1));
        assert_eq!(memory.probe(&pod).report, Some(report("a", 1)));
        memory.note(&pod, Some(report("b", 0)), at(2));
        memory.note(&pod, Some(report("b", 2)), at(3));
        assert_eq!(memory.probe(&pod).report, Some(report("b", 2)));
        assert_eq!(memory.probe(&pod).before_restart, Some(report("a", 1)));
        memory.keep_only(&[]);
        assert_eq!(memory.probe(&pod), Probe::default());
    }

    #[test]
    fn secrets_are_looked_at_again_after_half_a_minute() {
        let mut memory = Memory::default();
        assert!(memory.secrets(at(0)).is_none());
        memory.note_secrets(Secrets::default(), at(0));
        assert!(memory.secrets(at(29)).is_some());
        assert!(memory.secrets(at(30)).is_none());
    }
}
