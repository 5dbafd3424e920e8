//! A tiny cluster in virtual time: pods that become ready and drain as their image says, and an operator
//! that plans and applies once a second. Every act is checked against what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use baton_crds::{DrainState, RelayPoolStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::names;
use crate::plan::action::{Action, Gone, PodRef, SecretKind};
use crate::plan::limits::Limits;
use crate::plan::plan;
use crate::plan::snapshot::{
    Container, Flag, Objects, Pool, Presence, Probe, RelayPod, Revision, Secrets, Snapshot,
};
use crate::render;
use crate::render::patch::drain_id;
use crate::revision::Rolls;

use super::world::{Image, SimPod};

/// In one second the operator gets so many turns: each change wakes it.
const TURNS: usize = 12;

pub(super) struct Sim {
    start: Timestamp,
    pub(super) now: Timestamp,
    pub(super) pool: Pool,
    pub(super) pods: Vec<SimPod>,
    pub(super) revisions: Vec<Revision>,
    pub(super) secrets: Secrets,
    pub(super) objects: Objects,
    /// When the operator began to ask about which drain: gone with its process.
    asked: BTreeMap<String, (Option<String>, Timestamp)>,
    numbers_written: Option<Timestamp>,
    serial: u64,
    /// Drains that were counted, ever.
    pub(super) counted: BTreeSet<String>,
    /// Sums of all outcomes that were told, as a counter of metrics has them.
    pub(super) sums: [i64; 4],
    pub(super) transcript: String,
    /// Only so many steps of the next plan are carried out: then the operator dies.
    pub(super) dies_after: Option<usize>,
    pub(super) released: bool,
}

impl Sim {
    /// A pool that was just made.
    pub(super) fn new(spec: Value) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut pool = render::tests::pool(spec);
        pool.has_finalizer = false;
        Self {
            start,
            now: start,
            pool,
            pods: Vec::new(),
            revisions: Vec::new(),
            secrets: Secrets {
                pool: Presence::Missing,
                auth: Presence::Missing,
                ca: Presence::Missing,
                tls: Presence::Missing,
                ca_certificate: None,
            },
            objects: Objects::default(),
            asked: BTreeMap::new(),
            numbers_written: None,
            serial: 0,
            counted: BTreeSet::new(),
            sums: [0; 4],
            transcript: String::new(),
            dies_after: None,
            released: false,
        }
    }

    /// The same, after it has come up.
    pub(super) fn up(spec: Value) -> Self {
        let mut sim = Self::new(spec);
        sim.run_until(120, "complete", |sim| sim.is_complete());
        sim.transcript.clear();
        sim.start = sim.now;
        sim
    }

    pub(super) fn status(&self) -> &RelayPoolStatus {
        &self.pool.status
    }

    pub(super) fn reason(&self, kind: &str) -> String {
        let conditions = &self.status().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == kind);
        found.map_or_else(String::new, |found| format!("{}/{}", found.status, found.reason))
    }

    pub(super) fn message(&self, kind: &str) -> &str {
        let conditions = &self.status().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == kind);
        found.map_or("", |found| &found.message)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.status().observed_generation == Some(self.pool.generation)
            && self.reason("Progressing") == "False/Complete"
    }

    /// Somebody edits the pool.
    pub(super) fn edit(&mut self, fields: Value) {
        let mut spec = serde_json::to_value(&self.pool.spec).unwrap();
        merge(&mut spec, &fields);
        let spec = serde_json::from_value(spec).unwrap();
        if spec != self.pool.spec {
            self.pool.spec = spec;
            self.pool.generation += 1;
        }
        self.note(&format!("edit {fields}"));
    }

    pub(super) fn image(&mut self, image: Image) {
        self.edit(json!({"template": {"image": image.name()}}));
    }

    pub(super) fn note(&mut self, what: &str) {
        let seconds = self.now.as_second() - self.start.as_second();
        // Hashes say nothing to a reader; the first revision is `a`, the next `b`.
        let mut what = what.to_owned();
        for revision in &self.revisions {
            let letter = u8::try_from(revision.number).unwrap_or(0) + b'a' - 1;
            what = what.replace(&revision.hash, &char::from(letter).to_string());
        }
        let _ = writeln!(self.transcript, "{seconds:>4} {what}");
    }

    /// The operator's process is another.
    pub(super) fn restart_operator(&mut self) {
        self.asked.clear();
        self.numbers_written = None;
    }

    pub(super) fn run_until(&mut self, seconds: usize, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..seconds {
            self.second();
            if done(self) {
                return;
            }
        }
        panic!(
            "not {what} within {seconds} s\n{}\n{:#?}\n{:#?}",
            self.transcript,
            self.status(),
            self.pods.iter().map(|pod| &pod.seen).collect::<Vec<_>>()
        );
    }

    pub(super) fn run(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.second();
        }
    }

    /// The world moves by a second, then the operator has its turns until it is content.
    pub(super) fn second(&mut self) {
        self.now = Timestamp::from_second(self.now.as_second() + 1).unwrap();
        for pod in &mut self.pods {
            pod.second(self.now);
        }
        self.pods.retain(|pod| !pod.is_gone(self.now));
        let mut acted = Vec::new();
        for _ in 0..TURNS {
            if !self.turn(&mut acted) {
                return;
            }
        }
        panic!("the operator is not content after {TURNS} turns\n{}", self.transcript);
    }

    /// Is there anything that it did?
    fn turn(&mut self, acted: &mut Vec<(bool, String)>) -> bool {
        if self.released {
            return false;
        }
        let snapshot = self.snapshot();
        let made = plan(&snapshot);
        let undrains = made.actions.iter().any(|action| matches!(action, Action::Undrain(_)));
        let takes = |action: &Action| matches!(action, Action::Drain(..) | Action::DeletePod(..));
        assert!(
            self.pool.deleted_at.is_some() || !undrains || !made.actions.iter().any(takes),
            "what is wanted again is un-drained before anything is taken: {:?}",
            made.actions
        );
        for action in &made.actions {
            self.check_stored(&snapshot, action);
        }
        let mut steps = self.dies_after.take().unwrap_or(usize::MAX);
        if let Some(status) = made.status.as_deref() {
            if steps == 0 {
                self.restart_operator();
                return false;
            }
            steps -= 1;
            self.write_status(status.clone(), &made.outcomes);
        }
        let acts = made.status.is_some() || !made.actions.is_empty();
        for action in &made.actions {
            if steps == 0 {
                self.note("the operator dies");
                self.restart_operator();
                return false;
            }
            steps -= 1;
            self.check(action);
            match action {
                Action::Drain(pod, _) => acted.push((true, pod.uid.clone())),
                Action::Undrain(pod) => acted.push((false, pod.uid.clone())),
                _ => {}
            }
            self.apply(action);
        }
        for (drains, uid) in acted.iter() {
            let undone = (!drains, uid.clone());
            assert!(
                !acted.contains(&undone),
                "drained and un-drained at once\n{}",
                self.transcript
            );
        }
        acts
    }

    fn write_status(&mut self, status: RelayPoolStatus, outcomes: &[crate::plan::action::Outcome]) {
        let mut new = 0;
        for entry in status.drains.iter().filter(|entry| entry.state == DrainState::Counted) {
            let was = self.pool.status.drains.iter().find(|was| was.id == entry.id);
            if was.is_none_or(|was| was.state != DrainState::Counted) {
                assert!(self.counted.insert(entry.id.clone()), "{} is counted twice", entry.id);
                new += 1;
            }
        }
        if self.pool.deleted_at.is_none() {
            assert_eq!(new, outcomes.len(), "as many outcomes as drains were counted");
        }
        for outcome in outcomes {
            let counts = [outcome.moved, outcome.left, outcome.forced, outcome.silent];
            for (sum, count) in self.sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        // As the API server gives it back.
        let text = serde_json::to_string(&status).unwrap();
        let stored: RelayPoolStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(stored, status, "the status comes back as it was written");
        assert!(status.drains.len() <= 32);
        let before = self.reason("Progressing");
        self.pool.status = stored;
        self.numbers_written = Some(self.now);
        let after = self.reason("Progressing");
        if before != after {
            let line = format!("status {after}, {} serve", self.status().replicas);
            self.note(&line);
        }
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let now = self.now;
        let mut pods = Vec::new();
        for pod in &self.pods {
            let mut seen = pod.seen.clone();
            seen.probe = Probe::default();
            let askable = seen.ip.is_some() && matches!(seen.container, Container::Running { .. });
            let drain = seen.flag.as_ref().map(|flag| flag.id.clone());
            if askable {
                let asked = self.asked.entry(seen.uid.clone()).or_insert((drain.clone(), now));
                if asked.0 != drain {
                    *asked = (drain.clone(), now);
                }
                seen.probe = Probe {
                    asked_since: Some(asked.1),
                    report: pod.answer(),
                    before_restart: pod.before_restart.clone(),
                };
            }
            pods.push(seen);
        }
        // The order of a list means nothing.
        if self.now.as_second() % 2 == 0 {
            pods.reverse();
        }
        Snapshot {
            now,
            pool: self.pool.clone(),
            pods,
            revisions: self.revisions.clone(),
            secrets: self.secrets.clone(),
            objects: self.objects.clone(),
            numbers_written: self.numbers_written,
        }
    }

    /// What must hold of every act, whatever happened before.
    fn check(&self, action: &Action) {
        let limits = Limits::of(&self.pool.spec);
        let serving = self.pods.iter().filter(|pod| pod.seen.serves()).count();
        let taken = match action {
            Action::Drain(pod, _) | Action::DeletePod(pod, _) => Some(self.find(pod)),
            _ => None,
        };
        let story = &self.transcript;
        if let Some(pod) = taken
            && pod.seen.serves()
            && self.pool.deleted_at.is_none()
        {
            assert!(
                serving > limits.floor,
                "{action} breaks the floor of {}\n{story}",
                limits.floor
            );
        }
        match action {
            Action::CreatePod(_) => {
                let standing = self.pods.iter().filter(|pod| !pod.seen.is_stuck(self.now)).count();
                assert!(standing < limits.ceiling, "{action} breaks the ceiling\n{story}");
            }
            Action::DeletePod(pod, gone) => self.check_deletion(self.find(pod), *gone),
            _ => {}
        }
    }

    fn check_deletion(&self, pod: &SimPod, gone: Gone) {
        let seen = &pod.seen;
        let story = &self.transcript;
        if matches!(gone, Gone::Unused | Gone::Finished) {
            assert_eq!(pod.sessions(), 0, "{} has sessions: {gone}\n{story}", seen.name);
            return;
        }
        let flag = seen.flag.as_ref().unwrap_or_else(|| panic!("{} has no flag", seen.name));
        let waited = self.now.as_second() - flag.set_at.as_second();
        let grace = i64::from(self.pool.spec.drain.grace_seconds);
        match gone {
            Gone::Drained => assert_eq!(pod.sessions(), 0, "{} is drained\n{story}", seen.name),
            Gone::Expired => assert!(waited >= grace + 5, "{} has time\n{story}", seen.name),
            Gone::NotAcknowledged => {
                assert!(waited >= 15 && pod.is_deaf(), "{} hears\n{story}", seen.name);
            }
            Gone::Unused | Gone::Finished => {}
        }
    }

    /// A deletion rests on what was stored before the plan, not on what the plan itself will store.
    fn check_stored(&self, snapshot: &Snapshot, action: &Action) {
        let Action::DeletePod(pod, Gone::Drained | Gone::Expired | Gone::NotAcknowledged) = action
        else {
            return;
        };
        if snapshot.pool.deleted_at.is_some() {
            return;
        }
        let flag = self.find(pod).seen.flag.as_ref().map(|flag| flag.id.as_str());
        let mut drains = snapshot.pool.status.drains.iter();
        let stored = drains.any(|entry| {
            Some(entry.id.as_str()) == flag
                && matches!(entry.state, DrainState::Counted | DrainState::Unjudged)
        });
        assert!(stored, "{action}: its outcome is not stored yet\n{}", self.transcript);
    }

    fn find(&self, pod: &PodRef) -> &SimPod {
        let found = self.pods.iter().find(|found| found.seen.uid == pod.uid).unwrap();
        assert_eq!(found.seen.resource_version, pod.resource_version, "planned for what is there");
        found
    }

    fn change(&mut self, pod: &PodRef) -> &mut SimPod {
        let version = self.serial();
        let found = self.pods.iter_mut().find(|found| found.seen.uid == pod.uid).unwrap();
        found.seen.resource_version = version.to_string();
        found
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn apply(&mut self, action: &Action) {
        let told = matches!(
            action,
            Action::Undrain(_)
                | Action::DeletePod(..)
                | Action::Drain(..)
                | Action::CreatePod(_)
                | Action::Seed(..)
                | Action::CreateRevision(_)
                | Action::DeleteRevision { .. }
                | Action::ReleasePool
        );
        let now = self.now;
        match action {
            Action::HoldPool => self.pool.has_finalizer = true,
            Action::ReleasePool => self.released = true,
            Action::CreateSecret(kind) => self.create_secret(*kind),
            Action::CreateRevision(revision) => {
                let name = revision.metadata.name.clone().unwrap();
                let hash =
                    revision.metadata.labels.as_ref().unwrap()[names::REVISION_LABEL].clone();
                let data = &revision.data.as_ref().unwrap().0;
                let rolls = Rolls::from_stored(data);
                let number = revision.revision;
                self.revisions.push(Revision { uid: name.clone(), name, hash, number, rolls });
            }
            Action::DeleteRevision { .. } => {}
            Action::ApplyClientConfig(config) => self.objects.client = Some((**config).clone()),
            Action::ApplyService(service) => self.objects.service = Some((**service).clone()),
            Action::ApplyBudget(budget) => self.objects.budget = Some((**budget).clone()),
            Action::DeleteBudget => self.objects.budget = None,
            Action::Undrain(pod) => self.change(pod).undrain(),
            Action::Seed(pod, _) => self.change(pod).seen.has_seeds = true,
            Action::Drain(pod, order) => {
                let flag = Flag {
                    id: drain_id(&pod.uid, order.count),
                    reason: order.reason.as_str().to_owned(),
                    set_at: order.at,
                    restarts: order.restarts,
                };
                self.change(pod).drain(flag, order, now);
            }
            Action::DeletePod(pod, _) => self.change(pod).delete(now),
            Action::CreatePod(pod) => {
                let serial = self.serial();
                let taken = |found: &SimPod| Some(&found.seen.name) == pod.metadata.name.as_ref();
                assert!(!self.pods.iter().any(taken), "{action}: there is one of that name");
                self.pods.push(SimPod::new(pod, serial, now));
            }
        }
        if told {
            self.note(&action.to_string());
        }
        if let Action::DeleteRevision { uid, .. } = action {
            self.revisions.retain(|revision| revision.uid != *uid);
        }
    }

    fn create_secret(&mut self, kind: SecretKind) {
        let secrets = &mut self.secrets;
        match kind {
            SecretKind::Pool => secrets.pool = Presence::Present,
            SecretKind::Auth => secrets.auth = Presence::Present,
            SecretKind::Authority => {
                secrets.ca = Presence::Present;
                secrets.ca_certificate = Some("PEM".to_owned());
            }
            SecretKind::Certificate => secrets.tls = Presence::Present,
        }
    }

    /// The pods that serve, and the letter of what each is made of.
    pub(super) fn serving(&self) -> Vec<String> {
        let mut serving: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| pod.seen.serves())
            .map(|pod| pod.image.name().to_owned())
            .collect();
        serving.sort();
        serving
    }

    pub(super) fn pod(&mut self, n: usize) -> Option<&mut SimPod> {
        let count = self.pods.len();
        let mut pods: Vec<&mut SimPod> = self.pods.iter_mut().collect();
        pods.sort_by(|one, other| one.seen.name.cmp(&other.seen.name));
        (count > 0).then(|| pods.swap_remove(n % count))
    }

    pub(super) fn seen(&self) -> Vec<&RelayPod> {
        self.pods.iter().map(|pod| &pod.seen).collect()
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
