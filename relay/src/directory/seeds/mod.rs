//! Facts about the directory that are named in `make show T=seeds`.

mod owners;
mod pace;
mod reclaims;
mod sessions;
pub(super) mod turns;
