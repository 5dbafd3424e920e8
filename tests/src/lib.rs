//! What the tests of several crates share.
//!
//! - [`cluster`]: a test in a Kubernetes namespace of its own, on the cluster of this repository or
//!   on any other; waiting, diagnosing, breaking things.
//! - [`outside`]: a machine outside the cluster, behind a router whose address can change.
//! - [`flows`]: many UDP flows, and which pod answered each of them when.
//! - [`fleet`]: a pool of real relays in this process, replaced one by one.
//! - [`traffic`]: pairs of peers whose streams and datagrams know what they have lost.
//! - [`load`]: thousands of peers that do what peers do, and judge what was lost.
//! - [`helm`]: the real helm, built once from its Go module.
//! - [`pool`]: a pool on a real cluster, as its owner sees it.
//! - [`admin`]: what a relay says at its admin port.
//! - [`programs`]: the relay and the command as users have them, built when a test needs them.
//! - [`shell`]: what a person types.
//! - [`udp_proxy`]: a network that delays, reorders, loses and repeats.
//! - [`until`](mod@until): waiting for a level that only asking shows.
//! - [`figures`]: what a test measured, for people and for the documents.
//!
//! This crate is for tests: its functions panic, with a message that says what was expected of what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod cluster;
pub mod figures;
pub mod fleet;
pub mod flows;
pub mod helm;
pub mod images;
pub mod load;
pub mod outside;
pub mod pool;
pub mod programs;
pub mod shell;
pub mod testpod;
pub mod traffic;
pub mod udp_proxy;
pub mod until;

/// The kubeconfig of the cluster that is tested.
#[must_use]
pub fn kubeconfig() -> std::path::PathBuf {
    match cluster::Kind::from_env() {
        cluster::Kind::Ours => baton_cluster::names::kubeconfig(),
        cluster::Kind::Existing => {
            let home = || std::path::PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            std::env::var_os("KUBECONFIG").map_or_else(|| home().join(".kube/config"), Into::into)
        }
    }
}
