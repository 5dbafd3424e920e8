//! What a relay counts. Labels are bounded, and every series is there from the start with zero, so that a rate can be taken
//! of the first event. No label is a peer or an address.

use std::time::Duration;

use baton_protocol::class::FailureClass;
use baton_protocol::frame::{LimitKind, RefusalCode};
use baton_protocol::session::Outcome;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::door;

/// Label value of attempts that succeeded.
const NO_CLASS: &str = "none";

/// The limit of a peer that attaches again and again.
pub(crate) const ATTACHMENTS: &str = "attachments_per_peer";

/// The limit of all sessions.
pub(crate) const SESSIONS: &str = "sessions";

/// The limit of first packets, of which the kernel lets no more pass.
const FIRST_PACKETS: &str = "first_packets";

/// Kinds of path migration.
pub const MIGRATION_KINDS: [&str; 3] = ["path", "rebind", "reroute"];

/// What became of a probe of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    Answered = 0,
    /// Its id is that of no session, or was used before.
    Unknown = 1,
    /// There were too many.
    Limited = 2,
}

const PROBES: [&str; 3] = ["answered", "unknown", "limited"];

/// Results of a handshake.
const HANDSHAKE_RESULTS: [&str; 7] =
    ["ok", "refused", "retry", "turned_away", "timeout", "failed", "violation"];

/// Limits of attaching, beside those of sessions.
const ATTACH_LIMITS: [&str; 6] =
    [FIRST_PACKETS, door::HANDSHAKES, door::PER_PREFIX, door::UNFINISHED, ATTACHMENTS, SESSIONS];

/// Why a datagram was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// Its receiver's queue was full; the oldest went.
    QueueFull,
    /// Nobody, or nobody who may be reached, is there.
    Offline,
    /// It does not fit the receiver's path.
    TooLarge,
    /// Its alias is not that of an open route.
    UnknownAlias,
    /// Its header is none.
    Malformed,
    /// It was forwarded too often.
    TooManyHops,
    /// Its receiver's connection ended first.
    Ended,
    /// It does not fit the receiver's path, and there was no stream for it in time.
    NoStream,
    /// The stream that it came by did not end in time, or not after so many bytes as it may have.
    Unfinished,
    /// There were too many, or too large ones, in too short a time.
    Limited,
    /// Its receiver does not let its sender in.
    Policy,
}

impl Dropped {
    const ALL: [Self; 11] = [
        Self::QueueFull,
        Self::Offline,
        Self::TooLarge,
        Self::UnknownAlias,
        Self::Malformed,
        Self::TooManyHops,
        Self::Ended,
        Self::NoStream,
        Self::Unfinished,
        Self::Limited,
        Self::Policy,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Offline => "offline",
            Self::TooLarge => "too_large",
            Self::UnknownAlias => "unknown_alias",
            Self::Malformed => "malformed",
            Self::TooManyHops => "too_many_hops",
            Self::Ended => "ended",
            Self::NoStream => "no_stream",
            Self::Unfinished => "unfinished",
            Self::Limited => "limited",
            Self::Policy => "policy",
        }
    }
}

/// A relay's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) sessions: IntGaugeVec,
    handshakes: IntCounterVec,
    auth_failures: IntCounterVec,
    renewals: IntCounterVec,
    reloads: IntCounterVec,
    config_stale: IntGauge,
    migrations: IntCounterVec,
    migration_duration: Histogram,
    probes: [IntCounter; 3],
    pub(crate) suspects: IntGauge,
    pub(crate) evictions: IntCounter,
    handovers: IntCounterVec,
    handover_gap: Histogram,
    pub(crate) reclaims: IntCounter,
    pub(crate) goaway_sent: IntCounter,
    pub(crate) goaway_acked: IntCounter,
    pub(crate) drain_state: IntGauge,
    outcomes: IntCounterVec,
    pub(crate) datagrams: [IntCounter; 4],
    pub(crate) bytes: [IntCounter; 4],
    detours: [IntCounter; 2],
    dropped: Vec<IntCounter>,
    pub(crate) queued: IntGauge,
    limits: IntCounterVec,
    /// Of them, those of sessions, as in [`LimitKind::ALL`].
    limited: Vec<IntCounter>,
    pub(crate) mesh_links: IntGauge,
}

/// Datagrams, and the bytes of their payloads: many are counted as dearly as one.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    datagrams: u64,
    bytes: u64,
}

impl Tally {
    /// One datagram, with so many bytes of payload.
    pub(crate) const fn one(payload: usize) -> Self {
        Self { datagrams: 1, bytes: payload as u64 }
    }

    /// One more.
    pub(crate) const fn add(&mut self, payload: usize) {
        self.datagrams += 1;
        self.bytes += payload as u64;
    }
}

/// Which way a datagram goes, as an index of [`Metrics::datagrams`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// From a client.
    In = 0,
    /// To a client.
    Out = 1,
    /// From another relay.
    MeshIn = 2,
    /// To another relay.
    MeshOut = 3,
}

const DIRECTIONS: [&str; 4] = ["in", "out", "mesh_in", "mesh_out"];

impl Metrics {
    /// Metrics with every series at zero.
    ///
    /// # Panics
    /// Never: names and labels are constants, each registered once, and a test makes one.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "names and labels are constants; the unit test below would fail"
    )]
    pub fn new() -> Self {
        Self::build().expect("constant names and labels")
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters =
                IntCounterVec::new(Opts::new(format!("baton_relay_{name}"), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::with_opts(Opts::new(format!("baton_relay_{name}"), help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(Opts::new(format!("baton_relay_{name}"), help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(format!("baton_relay_{name}"), help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let histogram = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.001, 2.0, 14)?;
            let histogram = Histogram::with_opts(
                HistogramOpts::new(format!("baton_relay_{name}"), help).buckets(buckets),
            )?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };

        let datagrams =
            counters("datagrams_total", "Datagrams with payload of peers", &["direction"])?;
        let bytes = counters("bytes_total", "Bytes of payload of peers", &["direction"])?;
        let detours = counters(
            "detours_total",
            "Datagrams that did not fit the client's path and came, or went, by a stream",
            &["direction"],
        )?;
        let dropped = counters("dropped_total", "Datagrams that were not delivered", &["reason"])?;
        let probes =
            counters("probes_total", "Probes of paths, by what became of them", &["result"])?;
        let limits = counters("limited_total", "What was beyond a limit, by which", &["kind"])?;
        let mesh_links = gauges("mesh_links", "Links to other relays of the pool", &["state"])?;
        let build_info = gauges("build_info", "Version, as a label of a constant 1", &["version"])?;
        build_info.with_label_values(&[crate::version()]).set(1);

        let metrics = Self {
            sessions: gauges("sessions", "Sessions here", &["state"])?,
            handshakes: counters(
                "handshakes_total",
                "Connections that asked for a session",
                &["result"],
            )?,
            auth_failures: counters(
                "auth_failures_total",
                "Refusals, of HELLO and of RENEW, by what was wrong",
                &["code"],
            )?,
            renewals: counters(
                "renewals_total",
                "Sessions that showed a newer access token",
                &["result"],
            )?,
            reloads: counters(
                "config_reloads_total",
                "Changes of the configuration's files, by whether they could be used",
                &["result"],
            )?,
            config_stale: gauge(
                "config_stale",
                "1 while the files cannot be used, and what was read before holds",
            )?,
            migrations: counters(
                "migrations_total",
                "Sessions whose client's address changed, by whether an echo came back over the new path",
                &["kind", "result", "class"],
            )?,
            migration_duration: histogram(
                "migration_duration_seconds",
                "From the first packet from a new address to the echo over it",
            )?,
            probes: PROBES.map(|result| probes.with_label_values(&[result])),
            suspects: gauge(
                "suspect_sessions",
                "Sessions of which nothing was heard for two keep-alives, and that may come back",
            )?,
            evictions: counter("evictions_total", "Suspect sessions that did not come back")?,
            handovers: counters(
                "handovers_total",
                "Sessions that moved here from a relay that goes away",
                &["result", "class"],
            )?,
            handover_gap: histogram(
                "handover_gap_seconds",
                "From WELCOME to a handover to its ACTIVE",
            )?,
            reclaims: counter(
                "reclaims_total",
                "Sessions whose handover failed after the new relay had taken it, and that are home here again",
            )?,
            goaway_sent: counter("goaway_sent_total", "GOAWAY frames")?,
            goaway_acked: counter("goaway_acked_total", "GOAWAY_ACK frames")?,
            drain_state: gauge("drain_state", "0 serving, 1 draining, 2 drained, 3 lingering")?,
            outcomes: counters(
                "drained_sessions_total",
                "How sessions of drains ended here",
                &["outcome"],
            )?,
            datagrams: DIRECTIONS.map(|direction| datagrams.with_label_values(&[direction])),
            bytes: DIRECTIONS.map(|direction| bytes.with_label_values(&[direction])),
            detours: [Direction::In, Direction::Out]
                .map(|way| detours.with_label_values(&[DIRECTIONS[way as usize]])),
            dropped: Dropped::ALL
                .iter()
                .map(|reason| dropped.with_label_values(&[reason.name()]))
                .collect(),
            limited: LimitKind::ALL
                .iter()
                .map(|kind| limits.with_label_values(&[kind.name()]))
                .collect(),
            queued: gauge(
                "queued_bytes",
                "What waits for clients, where each datagram counts as 256 bytes at least",
            )?,
            limits,
            mesh_links: mesh_links.with_label_values(&["up"]),
            registry,
        };
        metrics.seed();
        Ok(metrics)
    }

    fn seed(&self) {
        for state in ["standby", "home", "moved"] {
            self.sessions.with_label_values(&[state]).set(0);
        }
        for result in HANDSHAKE_RESULTS {
            self.handshakes.with_label_values(&[result]).reset();
        }
        for limit in ATTACH_LIMITS {
            self.limits.with_label_values(&[limit]).reset();
        }
        for code in RefusalCode::ALL {
            self.auth_failures.with_label_values(&[code.name()]).reset();
        }
        for counters in [&self.renewals, &self.reloads] {
            counters.with_label_values(&["ok"]).reset();
            counters.with_label_values(&["failed"]).reset();
        }
        for outcome in Outcome::ALL {
            self.outcomes.with_label_values(&[outcome.name()]).reset();
        }
        self.handovers.with_label_values(&["ok", NO_CLASS]).reset();
        for kind in MIGRATION_KINDS {
            self.migrations.with_label_values(&[kind, "ok", NO_CLASS]).reset();
        }
        for class in FailureClass::ALL {
            self.handovers.with_label_values(&["failed", class.name()]).reset();
            for kind in MIGRATION_KINDS {
                self.migrations.with_label_values(&[kind, "failed", class.name()]).reset();
            }
        }
    }

    /// A connection asked for a session.
    pub(crate) fn handshake(&self, result: &'static str) {
        debug_assert!(HANDSHAKE_RESULTS.contains(&result));
        self.handshakes.with_label_values(&[result]).inc();
    }

    /// A client was refused.
    pub(crate) fn refused(&self, code: RefusalCode) {
        self.auth_failures.with_label_values(&[code.name()]).inc();
    }

    /// A session showed a newer token.
    pub(crate) fn renewal(&self, refused: Option<RefusalCode>) {
        let result = if refused.is_some() { "failed" } else { "ok" };
        self.renewals.with_label_values(&[result]).inc();
        refused.into_iter().for_each(|code| self.refused(code));
    }

    /// The files of the configuration changed.
    pub(crate) fn reload(&self, usable: bool) {
        self.reloads.with_label_values(&[if usable { "ok" } else { "failed" }]).inc();
        self.config_stale.set(i64::from(!usable));
    }

    /// A session's client came from another address.
    pub(crate) fn migration(
        &self,
        kind: &'static str,
        failed: Option<FailureClass>,
        took: Duration,
    ) {
        let (result, class) = result(failed);
        self.migrations.with_label_values(&[kind, result, class]).inc();
        if failed.is_none() {
            self.migration_duration.observe(took.as_secs_f64());
        }
    }

    /// A probe of a path came.
    pub(crate) fn probe(&self, what: Probe) {
        self.probes[what as usize].inc();
    }

    /// A session came from a relay that goes away, or tried to.
    pub(crate) fn handover(&self, failed: Option<FailureClass>, gap: Duration) {
        let (result, class) = result(failed);
        self.handovers.with_label_values(&[result, class]).inc();
        if failed.is_none() {
            self.handover_gap.observe(gap.as_secs_f64());
        }
    }

    /// A session of a drain ended.
    pub(crate) fn outcome(&self, outcome: Outcome) {
        self.outcomes.with_label_values(&[outcome.name()]).inc();
    }

    /// Datagrams passed.
    pub(crate) fn passed(&self, direction: Direction, Tally { datagrams, bytes }: Tally) {
        if datagrams > 0 {
            self.datagrams[direction as usize].inc_by(datagrams);
            self.bytes[direction as usize].inc_by(bytes);
        }
    }

    /// A datagram from a client came by a stream.
    pub(crate) fn came_by_detour(&self) {
        self.detours[Direction::In as usize].inc();
    }

    /// A datagram to a client goes by a stream.
    pub(crate) fn went_by_detour(&self) {
        self.detours[Direction::Out as usize].inc();
    }

    /// Datagrams were dropped.
    pub(crate) fn dropped(&self, reason: Dropped, count: usize) {
        if count > 0
            && let Some(position) = Dropped::ALL.iter().position(|known| *known == reason)
        {
            self.dropped[position].inc_by(count as u64);
        }
    }

    /// Somebody wanted a session, beyond one of the limits of attaching.
    pub(crate) fn attach_limited(&self, limit: &'static str) {
        debug_assert!(ATTACH_LIMITS.contains(&limit));
        self.limits.with_label_values(&[limit]).inc();
    }

    /// So many first packets did not pass the kernel, by what is known of those that did.
    pub(crate) fn held_back(&self, count: u64) {
        if count > 0 {
            self.limits.with_label_values(&[FIRST_PACKETS]).inc_by(count);
        }
    }

    /// A first packet was beyond this limit.
    pub(crate) fn turned_away(&self, limit: &'static str) {
        self.handshake("turned_away");
        self.attach_limited(limit);
    }

    /// A datagram was beyond a limit, and dropped.
    pub(crate) fn limited(&self, kind: LimitKind) {
        self.dropped(Dropped::Limited, 1);
        if let Some(position) = LimitKind::ALL.iter().position(|known| *known == kind) {
            self.limited[position].inc();
        }
    }

    /// Handovers that came here: successes, and failures by class.
    #[must_use]
    pub fn handovers_in(&self) -> (u64, Vec<(&'static str, u64)>) {
        let failed = FailureClass::ALL.map(|class| {
            let name = class.name();
            (name, self.handovers.with_label_values(&["failed", name]).get())
        });
        (self.handovers.with_label_values(&["ok", NO_CLASS]).get(), failed.to_vec())
    }

    /// Path migrations of any kind: successes, and failures by class.
    #[must_use]
    pub fn migrations(&self) -> (u64, Vec<(&'static str, u64)>) {
        let sum = |result: &str, class: &str| {
            MIGRATION_KINDS
                .iter()
                .map(|kind| self.migrations.with_label_values(&[kind, result, class]).get())
                .sum()
        };
        let failed = FailureClass::ALL.map(|class| (class.name(), sum("failed", class.name())));
        (sum("ok", NO_CLASS), failed.to_vec())
    }

    /// All of it, in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn result(failed: Option<FailureClass>) -> (&'static str, &'static str) {
    failed.map_or(("ok", NO_CLASS), |class| ("failed", class.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let text = Metrics::new().render();
        for line in [
            r#"baton_relay_migrations_total{class="none",kind="rebind",result="ok"} 0"#,
            r#"baton_relay_migrations_total{class="validation_timeout",kind="path",result="failed"} 0"#,
            r#"baton_relay_handovers_total{class="refused",result="failed"} 0"#,
            r#"baton_relay_dropped_total{reason="queue_full"} 0"#,
            r#"baton_relay_limited_total{kind="pair_bytes"} 0"#,
            r#"baton_relay_limited_total{kind="handshakes_per_prefix"} 0"#,
            r#"baton_relay_limited_total{kind="first_packets"} 0"#,
            r#"baton_relay_limited_total{kind="unfinished"} 0"#,
            r#"baton_relay_sessions{state="home"} 0"#,
            r#"baton_relay_auth_failures_total{code="not_allowed"} 0"#,
            r#"baton_relay_renewals_total{result="failed"} 0"#,
            r#"baton_relay_config_reloads_total{result="ok"} 0"#,
            r#"baton_relay_detours_total{direction="in"} 0"#,
            r#"baton_relay_detours_total{direction="out"} 0"#,
            r#"baton_relay_dropped_total{reason="unfinished"} 0"#,
            "baton_relay_reclaims_total 0",
            r#"baton_relay_probes_total{result="unknown"} 0"#,
            "baton_relay_suspect_sessions 0",
            "baton_relay_evictions_total 0",
            "baton_relay_config_stale 0",
            "baton_relay_queued_bytes 0",
            r#"baton_relay_datagrams_total{direction="mesh_out"} 0"#,
            "baton_relay_handover_gap_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_counted_is_counted_once() {
        let metrics = Metrics::new();
        metrics.migration("rebind", None, Duration::from_millis(3));
        metrics.migration("path", Some(FailureClass::Reverted), Duration::ZERO);
        metrics.handover(None, Duration::from_millis(1));
        let (ok, failed) = metrics.migrations();
        assert_eq!((ok, failed.iter().map(|(_, count)| count).sum::<u64>()), (1, 1));
        assert_eq!(metrics.handovers_in().0, 1);
        assert!(metrics.render().contains("baton_relay_migration_duration_seconds_count 1"));
    }
}
