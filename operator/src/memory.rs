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
}

impl Memory {
    /// What is known of the pod.
    pub(crate) fn probe(&self, pod: &RelayPod) -> Probe {
        let Some(asked) = self.asked.get(&pod.uid) else { return Probe::default() };
        let same = asked.drain.as_deref() == drain(pod);
        Probe { asked_since: same.then_some(asked.since), report: asked.report.clone() }
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
        });
        if asked.drain.as_deref() != drain(pod) {
            asked.drain = drain(pod).map(str::to_owned);
            asked.since = now;
        }
        asked.last = now;
        if report.is_some() {
            asked.report = report;
        }
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
