//! A relay pod in virtual time, as its kubelet and its relay would have it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::names;
use crate::plan::action::DrainOrder;
use crate::plan::snapshot::{
    Container, DrainReport, Flag, Probe, RelayPod, RelayState, RelayStatus,
};

/// What an image does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Image {
    /// Ready after 2 s; its sessions leave 5 a second.
    A,
    /// Likewise.
    B,
    /// Ready after 2 s; half of its sessions stay until they are closed.
    Clingy,
    /// Ready after 2 s; it knows nothing of flags, and answers nothing.
    Deaf,
    /// It cannot be pulled.
    Missing,
    /// It ends as soon as it starts, and says why.
    Crashing,
}

impl Image {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "relay:a",
            Self::B => "relay:b",
            Self::Clingy => "relay:clingy",
            Self::Deaf => "relay:deaf",
            Self::Missing => "relay:missing",
            Self::Crashing => "relay:crashing",
        }
    }

    fn of(name: &str) -> Self {
        let all = [Self::A, Self::B, Self::Clingy, Self::Deaf, Self::Missing, Self::Crashing];
        all.into_iter().find(|image| image.name() == name).unwrap_or(Self::A)
    }
}

/// Sessions that every relay has once it serves.
pub(super) const SESSIONS: u32 = 10;

pub(super) struct SimPod {
    pub(super) seen: RelayPod,
    pub(super) image: Image,
    started_at: Timestamp,
    grace: i64,
    sessions: u32,
    drain: Option<Running>,
    last_drain: Option<DrainReport>,
    /// The status cannot be read.
    pub(super) unreachable: bool,
    /// What the process before this one said last.
    pub(super) before_restart: Option<RelayStatus>,
    /// The kubelet is silent.
    pub(super) lost: bool,
    ends_at: Option<Timestamp>,
}

struct Running {
    report: DrainReport,
    deadline: Timestamp,
}

impl SimPod {
    pub(super) fn new(pod: &Pod, serial: u64, now: Timestamp) -> Self {
        let spec = pod.spec.as_ref().unwrap();
        let name = pod.metadata.name.clone().unwrap();
        let image = Image::of(spec.containers[0].image.as_ref().unwrap());
        let seen = RelayPod {
            uid: format!("{name}@{serial}"),
            name,
            resource_version: serial.to_string(),
            revision: pod.metadata.labels.as_ref().unwrap()[names::REVISION_LABEL].clone(),
            image: image.name().to_owned(),
            ip: None,
            ready_since: None,
            finished: false,
            terminating_until: None,
            container: Container::Unknown,
            restarts: 0,
            last_message: None,
            unschedulable: None,
            flag: None,
            drain_count: 0,
            has_seeds: false,
            probe: Probe::default(),
        };
        let grace = spec.termination_grace_period_seconds.unwrap();
        Self {
            seen,
            image,
            started_at: now,
            grace,
            sessions: 0,
            drain: None,
            last_drain: None,
            unreachable: false,
            before_restart: None,
            lost: false,
            ends_at: None,
        }
    }

    pub(super) fn sessions(&self) -> u32 {
        self.sessions
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.unreachable || self.image == Image::Deaf || self.lost || self.seen.ip.is_none()
    }

    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end < now) && !self.lost
    }

    pub(super) fn answer(&self) -> Option<RelayStatus> {
        (!self.is_deaf()).then(|| self.report())
    }

    fn report(&self) -> RelayStatus {
        let running = self.drain.as_ref().map(|drain| &drain.report);
        let state = match running {
            None => RelayState::Serving,
            Some(report) if report.remaining == 0 => RelayState::Drained,
            Some(_) => RelayState::Draining,
        };
        RelayStatus {
            pod_uid: self.seen.uid.clone(),
            boot_id: self.seen.restarts.to_string(),
            state,
            sessions: self.sessions,
            drain: running.or(self.last_drain.as_ref()).cloned(),
            flag_error: None,
        }
    }

    /// What happens to it in a second.
    pub(super) fn second(&mut self, now: Timestamp) {
        if self.lost {
            self.seen.ready_since = None;
            return;
        }
        if self.seen.finished {
            return self.end_if_deleted(now);
        }
        let age = now.as_second() - self.started_at.as_second();
        match self.image {
            Image::Missing => {
                let reason =
                    if now.as_second() % 3 == 0 { "ErrImagePull" } else { "ImagePullBackOff" };
                let (reason, message) = (reason.to_owned(), String::new());
                self.seen.container = Container::Waiting { reason, message };
                return self.end_if_deleted(now);
            }
            Image::Crashing if age >= 2 => {
                let said = "error: invalid value\n\nFor more information, try '--help'.";
                self.exit(now, Some(said.to_owned()));
                return self.end_if_deleted(now);
            }
            _ => {}
        }
        if age >= 1 {
            self.seen.ip.get_or_insert_with(|| format!("ip of {}", self.seen.uid));
            let started = age >= 2 && self.seen.has_seeds && self.image != Image::Crashing;
            self.seen.container = Container::Running { started };
            if started && self.seen.ready_since.is_none() {
                self.seen.ready_since = Some(now);
                if self.seen.flag.is_none() && self.seen.terminating_until.is_none() {
                    self.sessions = SESSIONS;
                }
            }
        }
        self.drain_on(now);
        self.end_if_deleted(now);
    }

    fn drain_on(&mut self, now: Timestamp) {
        if let (Some(flag), None) = (&self.seen.flag, &self.drain)
            && self.image != Image::Deaf
        {
            // It could not see it before.
            let id = flag.id.clone();
            self.begin_drain(id, 30, now);
        }
        let clingy = self.image == Image::Clingy;
        let Some(drain) = &mut self.drain else { return };
        let floor = if clingy { drain.report.at_flag / 2 } else { 0 };
        let moves = drain.report.remaining.saturating_sub(floor).min(5);
        drain.report.moved += moves;
        drain.report.remaining -= moves;
        if now >= drain.deadline {
            drain.report.forced += drain.report.remaining;
            drain.report.remaining = 0;
        }
        self.sessions = drain.report.remaining;
    }

    pub(super) fn drain(&mut self, flag: Flag, order: &DrainOrder, now: Timestamp) {
        let id = flag.id.clone();
        self.seen.flag = Some(flag);
        self.seen.drain_count = order.count;
        // What nobody reads starts nothing. A relay that nobody can ask still drains.
        if self.image != Image::Deaf && !self.lost {
            self.begin_drain(id, i64::from(order.grace_seconds), now);
        }
    }

    fn begin_drain(&mut self, id: String, grace: i64, now: Timestamp) {
        let report = DrainReport {
            id,
            at_flag: self.sessions,
            remaining: self.sessions,
            ..DrainReport::default()
        };
        let deadline = Timestamp::from_second(now.as_second() + grace).unwrap();
        self.drain = Some(Running { report, deadline });
    }

    pub(super) fn undrain(&mut self) {
        self.seen.flag = None;
        self.last_drain = self.drain.take().map(|drain| drain.report);
    }

    /// Somebody deletes it.
    pub(super) fn delete(&mut self, now: Timestamp) {
        if self.seen.terminating_until.is_none() {
            let until = Timestamp::from_second(now.as_second() + self.grace).unwrap();
            self.seen.terminating_until = Some(until);
            if self.drain.is_none() && self.sessions > 0 {
                self.begin_drain(String::new(), self.grace - 12, now);
            }
        }
    }

    /// After SIGTERM a relay ends 2 s after its last session, or when its grace does.
    fn end_if_deleted(&mut self, now: Timestamp) {
        let Some(until) = self.seen.terminating_until else { return };
        let since = until.as_second() - self.grace;
        let idle = self.sessions == 0 && now.as_second() >= since + 2;
        if self.ends_at.is_none() && (idle || now >= until) {
            let words = matches!(self.seen.container, Container::Running { .. });
            let words = words.then(|| serde_json::to_string(&self.report()).unwrap());
            self.seen.container = Container::Exited;
            self.seen.last_message = words;
            self.sessions = 0;
            self.ends_at = Some(now);
        }
    }

    /// Its process ends, and is started again.
    pub(super) fn exit(&mut self, now: Timestamp, message: Option<String>) {
        self.before_restart = self.answer();
        self.seen.ready_since = None;
        self.seen.container = Container::Running { started: false };
        self.seen.restarts += 1;
        self.seen.last_message = message;
        self.sessions = 0;
        self.last_drain = None;
        self.started_at = now;
        if let Some(flag) = &self.seen.flag {
            let id = flag.id.clone();
            self.begin_drain(id, 60, now);
        }
    }

    /// The kubelet gives the pod up.
    pub(super) fn evict(&mut self) {
        self.seen.finished = true;
        self.seen.ready_since = None;
        self.seen.container = Container::Exited;
        self.sessions = 0;
    }

    /// Its readiness goes, or comes back.
    pub(super) fn flap(&mut self, now: Timestamp) {
        let running = matches!(self.seen.container, Container::Running { started: true });
        self.seen.ready_since = match self.seen.ready_since {
            Some(_) => None,
            None => running.then_some(now),
        };
    }
}
