//! What the design takes for granted about Kubernetes, on the real thing, each with its figure.
//!
//! `make show T=kubernetes-facts` runs them with kube-proxy in nftables and in iptables mode; the
//! figures of one such run stand in docs/decisions/0002-kubernetes-facts.md, with what follows from
//! each. A new Kubernetes, or another cluster (`CLUSTER=existing`), is judged by running them again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod annotation;
mod deletion;
mod readiness;
mod scene;
mod surge;
mod termination_message;
mod unplanned;
