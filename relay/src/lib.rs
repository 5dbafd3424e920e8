//! Baton's relay: sessions of peers, forwarded to each other, that survive the relay's own replacement.

pub mod auth;
pub mod drain;
pub mod keys;
