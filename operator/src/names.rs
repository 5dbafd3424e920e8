//! Names that the operator shares with relays, with Kubernetes and with people: labels, annotations,
//! objects, paths. Most stand in `docs/drain-contract.md`.

/// The label that every object of a pool bears, with the pool's name. The Service selects by it alone.
pub const POOL_LABEL: &str = "baton.dev/pool";
/// The label of a pod with its revision.
pub const REVISION_LABEL: &str = "baton.dev/revision";
/// The label of a pod that says whether it drains. For PodDisruptionBudgets and `scale` only.
pub const PHASE_LABEL: &str = "baton.dev/phase";
/// [`PHASE_LABEL`] of a pod without a shutdown flag.
pub const SERVING: &str = "serving";
/// [`PHASE_LABEL`] of a pod with one.
pub const DRAINING: &str = "draining";

/// The shutdown flag.
pub const DRAIN_ANNOTATION: &str = "baton.dev/drain";
/// How many flags the pod ever had.
pub const DRAIN_COUNT_ANNOTATION: &str = "baton.dev/drain-count";
/// The operator's own note beside the flag: when it was set, and how often the container had restarted.
/// No relay reads it.
pub const DRAIN_MARK_ANNOTATION: &str = "baton.dev/drain-mark";
/// The siblings a pod begins with.
pub const SEEDS_ANNOTATION: &str = "baton.dev/seeds";
/// The content an object was last applied with, so that a field that is no longer wanted is noticed.
pub const APPLIED_ANNOTATION: &str = "baton.dev/applied";

/// Keeps the pool while its pods drain.
pub const FINALIZER: &str = "baton.dev/drain";

/// The container that is the relay.
pub const RELAY_CONTAINER: &str = "relay";
/// Clients' port in the container (UDP).
pub const PUBLIC_PORT: i32 = 4443;
/// The relays' own port (UDP).
pub const MESH_PORT: i32 = 4444;
/// Health, metrics and status (TCP).
pub const ADMIN_PORT: i32 = 9100;

/// The user and group that relays run as.
pub const RELAY_USER: i64 = 65532;

/// `<namespace>/<pool>`: the audience of access tokens.
#[must_use]
pub fn audience(namespace: &str, pool: &str) -> String {
    format!("{namespace}/{pool}")
}

/// The name in the certificate that the relays show.
#[must_use]
pub fn server_name(namespace: &str, pool: &str) -> String {
    format!("{pool}.{namespace}.baton.internal")
}

/// The ConfigMap with what a client needs.
#[must_use]
pub fn client_config(pool: &str) -> String {
    format!("{pool}-client")
}

/// Selects the serving pods of a pool.
#[must_use]
pub fn serving_selector(pool: &str) -> String {
    format!("{POOL_LABEL}={pool},{PHASE_LABEL}={SERVING}")
}

/// A pod's name. With a pool's name of 40 letters it stays a DNS label.
#[must_use]
pub fn pod(pool: &str, revision: &str, number: usize) -> String {
    format!("{pool}-{revision}-{number}")
}

/// A ControllerRevision's name.
#[must_use]
pub fn revision(pool: &str, hash: &str) -> String {
    format!("{pool}-{hash}")
}
