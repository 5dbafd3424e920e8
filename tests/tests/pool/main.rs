//! A pool in its owner's hands, on a real cluster, with kubectl: looked at, scaled, given bad images, deleted; and what
//! the API server lets nobody write.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deleted;
mod failing;
mod refused;
mod scaled;
mod stage;
