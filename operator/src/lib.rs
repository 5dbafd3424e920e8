//! Baton's operator: it keeps the relay pods of each `RelayPool`, and replaces them without losing a
//! session.
//!
//! Each turn is the same: **observe** the world into a snapshot, **plan** as a pure function of it,
//! **apply** the plan step by step, **report** in the pool's status. There is no state between turns that
//! matters: whoever starts anew finds everything in the pods' annotations and the pool's status.

pub mod admin;
pub mod apply;
mod clock;
pub mod config;
pub mod connect;
pub mod controller;
mod memory;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod plan;
pub mod render;
pub mod revision;
pub mod run;
pub mod secrets;
