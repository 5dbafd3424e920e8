//! The Helm chart, rendered by the real helm, without a cluster.
//!
//! `BATON_BLESS=1` writes anew what is compared with a file: the golden files of the default
//! rendering, and the table of values in the chart's README.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chart;
mod crd;
mod dashboard;
mod golden;
mod monitoring;
mod notes;
mod operator;
mod options;
mod rbac;
mod readme;
mod restricted;
mod schema;
