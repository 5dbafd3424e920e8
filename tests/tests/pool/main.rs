//! The whole of Baton on a real cluster: chart, operator, relays, and clients outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod revert;
mod upgrade;
