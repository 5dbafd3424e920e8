//! The Helm chart, rendered by the real helm, without a cluster.
//!
//! `BATON_BLESS=1` writes anew what is compared with a file: the golden files of the default
//! rendering, the table of values in the chart's README, and docs/metrics.md.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chart;
mod crd;
mod dashboard;
mod exposition;
mod golden;
mod metrics;
mod monitoring;
mod notes;
mod operator;
mod options;
mod rbac;
mod readme;
mod restricted;
mod schema;
