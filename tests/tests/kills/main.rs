//! Who is killed with SIGKILL in the middle of things: the operator in a rollout, relays under live streams.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod operator;
mod relay;
