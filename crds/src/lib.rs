//! `RelayPool`: a fleet of relays behind one UDP address, as its owner writes it and as the operator
//! reports it.
//!
//! The YAML beside this crate (`relaypools.baton.dev.yaml`) is generated from these types; a test fails
//! when they part. What each field does, and when a change of it takes effect, stands in `docs/crd.md`.
//!
//! A default is never changed once released: pools that rely on it would all roll at once, or worse,
//! not roll though they should.

mod schema;
#[expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its `pub`, into a function"
)]
mod spec;
#[expect(unreachable_pub, reason = "as above")]
mod status;
#[expect(unreachable_pub, reason = "as above")]
mod template;

pub use self::spec::{
    AuthMode, AuthSpec, BudgetPolicy, DisruptionSpec, DrainSpec, ExternalTrafficPolicy, IpFamily,
    IpFamilyPolicy, LimitsSpec, OnDelete, RelayPool, RelayPoolSpec, RolloutSpec, ServiceSpec,
    ServiceType,
};
pub use self::status::{
    AddressKind, DrainState, DrainStatus, PodCounts, PoolAddress, RelayPoolStatus, Revisions,
    RolloutState, RolloutStatus,
};
pub use self::template::{
    ImagePullPolicy, RelayTemplate, RelayTemplateMetadata, Resources, default_log_level,
};

/// The custom resource definition.
///
/// # Errors
/// When the definition cannot be written as JSON, which no definition of ours has met.
pub fn definition() -> Result<serde_json::Value, serde_json::Error> {
    serde_json::to_value(<RelayPool as kube::CustomResourceExt>::crd())
}
