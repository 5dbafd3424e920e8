//! How drains end, and the book of them in `status.drains`.
//!
//! **Each drain is counted exactly once.** Its outcome goes into the sums and its id into the book by one
//! write of the status, which is refused if the status changed since it was read. What the book holds as
//! counted is not counted again, and an entry stays for as long as its pod does. A pod with sessions is
//! deleted only when the *stored* book says how its drain ended; so wherever the operator dies, the next
//! one finds either the pod, which can still be asked, or the outcome.

use std::collections::BTreeMap;

use baton_crds::{DrainState, DrainStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::action::{Gone, Outcome};
use super::fleet::Fleet;
use super::snapshot::{DrainReport, Flag, RelayPod, RelayState, RelayStatus};

/// A relay that did not answer its flag within this time never saw it.
const ACKNOWLEDGE_SECONDS: i64 = 15;

/// What the relay gets beyond its grace: the flag takes a moment to reach it.
const DEADLINE_MARGIN_SECONDS: i64 = 5;

/// `status.drains` holds no more.
pub(super) const BOOK_LENGTH: usize = 32;

/// How a drain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Sessions may still leave.
    Running,
    /// It is over. The report is missing if the relay could not be asked.
    Over(Gone, Option<DrainReport>),
}

/// Judges the drain of a pod that bears one of our flags.
pub(super) fn judge(fleet: &Fleet<'_>, pod: &RelayPod, flag: &Flag) -> Verdict {
    if pod.exited_since_flag() {
        return Verdict::Over(
            Gone::Drained,
            last_words(pod).or_else(|| last_heard(fleet, pod, flag)),
        );
    }
    let answer = answer(pod, flag);
    let state = pod.probe.report.as_ref().map(|report| report.state);
    if let (Some(answer), Some(RelayState::Drained | RelayState::Lingering)) = (answer, state) {
        return Verdict::Over(Gone::Drained, Some(answer.clone()));
    }
    let grace = i64::from(fleet.snapshot.pool.spec.drain.grace_seconds);
    if seconds_since(fleet, flag.set_at) >= grace + DEADLINE_MARGIN_SECONDS {
        return Verdict::Over(Gone::Expired, answer.cloned());
    }
    if is_ignored(fleet, pod, flag) {
        return Verdict::Over(Gone::NotAcknowledged, None);
    }
    Verdict::Running
}

/// The relay was asked for long enough, by this process, and never answered the flag.
fn is_ignored(fleet: &Fleet<'_>, pod: &RelayPod, flag: &Flag) -> bool {
    let acknowledged = answer(pod, flag).is_some()
        || entry(fleet, pod, flag).is_some_and(|entry| entry.acknowledged);
    let asked_since = pod.probe.asked_since.map(|since| since.max(flag.set_at));
    !acknowledged
        && asked_since.is_some_and(|since| seconds_since(fleet, since) >= ACKNOWLEDGE_SECONDS)
}

/// What the relay says about this very drain.
fn answer<'a>(pod: &'a RelayPod, flag: &Flag) -> Option<&'a DrainReport> {
    pod.probe.report.as_ref()?.drain.as_ref().filter(|drain| drain.id == flag.id)
}

/// What a process that is gone said last about its drain. What was still there then is lost with it.
fn last_heard(fleet: &Fleet<'_>, pod: &RelayPod, flag: &Flag) -> Option<DrainReport> {
    let entry = entry(fleet, pod, flag);
    let answers = [&pod.probe.before_restart, &pod.probe.report].into_iter().flatten();
    let mut reports = answers.filter_map(|answer| answer.drain.as_ref());
    let told = reports.find(|report| {
        report.id == flag.id && entry.is_none_or(|entry| is_continued(entry, report))
    });
    told.cloned().or_else(|| entry.filter(|entry| entry.acknowledged).map(report_of))
}

/// The answer is of the process that began the entry: another one begins to count anew.
fn is_continued(entry: &DrainStatus, answer: &DrainReport) -> bool {
    i64::from(answer.at_flag) + i64::from(answer.stragglers) >= entry.at_flag + entry.stragglers
}

fn report_of(entry: &DrainStatus) -> DrainReport {
    let count = |number: i64| u32::try_from(number).unwrap_or_default();
    DrainReport {
        id: entry.id.clone(),
        at_flag: count(entry.at_flag),
        stragglers: count(entry.stragglers),
        remaining: count(entry.remaining),
        moved: count(entry.moved),
        left: count(entry.left),
        forced: count(entry.forced),
        silent: count(entry.silent),
    }
}

/// What the relay left as its termination message, whatever drain it was: SIGTERM drains without an id.
fn last_words(pod: &RelayPod) -> Option<DrainReport> {
    let status: RelayStatus = serde_json::from_str(pod.last_message.as_ref()?).ok()?;
    status.drain.filter(|_| status.pod_uid == pod.uid)
}

/// The stored entry of this very drain.
pub(super) fn entry<'a>(fleet: &Fleet<'a>, pod: &RelayPod, flag: &Flag) -> Option<&'a DrainStatus> {
    let entries = &fleet.snapshot.pool.status.drains;
    entries.iter().find(|entry| entry.uid == pod.uid && entry.id == flag.id)
}

/// The stored book says how the drain ended: the pod may go.
pub(super) fn is_closed(fleet: &Fleet<'_>, pod: &RelayPod, flag: &Flag) -> bool {
    entry(fleet, pod, flag)
        .is_some_and(|entry| matches!(entry.state, DrainState::Counted | DrainState::Unjudged))
}

fn seconds_since(fleet: &Fleet<'_>, then: Timestamp) -> i64 {
    (fleet.now().as_millisecond() - then.as_millisecond()) / 1000
}

/// The book as it should be, and what is new in it.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) drains: Vec<DrainStatus>,
    /// Drains counted now for the first time, with their reasons.
    pub(super) counted: Vec<(String, Outcome)>,
    /// How many more, or fewer, rollout drains are without an outcome.
    pub(super) unjudged: i32,
}

/// Writes the book on.
pub(super) fn book(fleet: &Fleet<'_>) -> Book {
    let mut book = Book::default();
    let mut entries: BTreeMap<String, DrainStatus> = fleet
        .snapshot
        .pool
        .status
        .drains
        .iter()
        .map(|entry| (entry.uid.clone(), entry.clone()))
        .collect();
    let pods: BTreeMap<&str, &RelayPod> = fleet.all().map(|pod| (pod.uid.as_str(), pod)).collect();
    for (uid, entry) in &mut entries {
        if pods.get(uid.as_str()).is_none_or(|pod| pod.flag.is_none()) {
            close_without_flag(entry, pods.contains_key(uid.as_str()), &mut book);
        }
    }
    for pod in pods.values() {
        let Some(flag) = pod.flag.as_ref().filter(|flag| !flag.is_foreign()) else { continue };
        if pod.is_going() && !entries.contains_key(&pod.uid) && entries.len() >= BOOK_LENGTH {
            // Its entry was dropped because too many pods do not end: to begin it again could count twice.
            continue;
        }
        let entry = entries.entry(pod.uid.clone()).or_insert_with(|| begin(pod, flag));
        if entry.id != flag.id {
            *entry = begin(pod, flag);
        }
        write_on(fleet, pod, flag, entry, &mut book);
    }
    book.drains = trimmed(entries, &pods);
    book
}

/// The pod has lost its flag, or is gone.
fn close_without_flag(entry: &mut DrainStatus, pod_exists: bool, book: &mut Book) {
    if entry.state != DrainState::Draining {
        return;
    }
    if pod_exists {
        entry.state = DrainState::Cancelled;
    } else {
        entry.state = DrainState::Unjudged;
        book.unjudged += i32::from(is_rollout(entry));
    }
}

fn begin(pod: &RelayPod, flag: &Flag) -> DrainStatus {
    DrainStatus {
        uid: pod.uid.clone(),
        pod: pod.name.clone(),
        id: flag.id.clone(),
        reason: flag.reason.clone(),
        state: DrainState::Draining,
        acknowledged: false,
        started_at: whole_seconds(flag.set_at),
        at_flag: 0,
        stragglers: 0,
        remaining: 0,
        moved: 0,
        left: 0,
        forced: 0,
        silent: 0,
    }
}

fn write_on(
    fleet: &Fleet<'_>,
    pod: &RelayPod,
    flag: &Flag,
    entry: &mut DrainStatus,
    book: &mut Book,
) {
    if entry.state == DrainState::Counted {
        return;
    }
    if let Some(answer) = answer(pod, flag) {
        if is_continued(entry, answer) {
            note(entry, answer);
        }
        entry.acknowledged = true;
    }
    match judge(fleet, pod, flag) {
        Verdict::Running => {}
        Verdict::Over(gone, Some(report)) => {
            if entry.state == DrainState::Unjudged {
                book.unjudged -= i32::from(is_rollout(entry));
            }
            note(entry, &report);
            // What is still there when its time is over is closed by what follows; what was there when
            // the process ended is lost.
            match gone {
                Gone::Expired => entry.forced += entry.remaining,
                _ => entry.silent += entry.remaining,
            }
            entry.remaining = 0;
            entry.state = DrainState::Counted;
            book.counted.push((entry.reason.clone(), outcome(entry)));
        }
        Verdict::Over(_, None) => {
            if entry.state == DrainState::Draining {
                entry.state = DrainState::Unjudged;
                book.unjudged += i32::from(is_rollout(entry));
            }
        }
    }
}

fn note(entry: &mut DrainStatus, report: &DrainReport) {
    entry.at_flag = i64::from(report.at_flag);
    entry.stragglers = i64::from(report.stragglers);
    entry.remaining = i64::from(report.remaining);
    entry.moved = i64::from(report.moved);
    entry.left = i64::from(report.left);
    entry.forced = i64::from(report.forced);
    entry.silent = i64::from(report.silent);
}

fn outcome(entry: &DrainStatus) -> Outcome {
    Outcome { moved: entry.moved, left: entry.left, forced: entry.forced, silent: entry.silent }
}

/// Does its outcome belong to the sums of the rollout?
pub(super) fn is_rollout(entry: &DrainStatus) -> bool {
    entry.reason == "rollout"
}

/// Entries whose pod is there stay; of the others, the latest. A pool that is closed may drain more pods
/// at once than the book holds, but there nothing waits for the book.
fn trimmed(
    entries: BTreeMap<String, DrainStatus>,
    pods: &BTreeMap<&str, &RelayPod>,
) -> Vec<DrainStatus> {
    let mut drains: Vec<DrainStatus> = entries.into_values().collect();
    drains.sort_by_key(|entry| {
        let gone = !pods.contains_key(entry.uid.as_str());
        (gone, std::cmp::Reverse(entry.started_at.0), entry.uid.clone())
    });
    drains.truncate(BOOK_LENGTH);
    drains
        .sort_by(|one, other| (one.started_at.0, &one.uid).cmp(&(other.started_at.0, &other.uid)));
    drains
}

/// A status holds whole seconds: a finer time would come back changed.
pub(super) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
