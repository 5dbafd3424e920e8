//! The cluster as people and tests use it: kubectl from a shell, a load balancer, machines outside,
//! and faults on order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balancer;
mod faults;
mod outside;
mod shell;
mod stage;
