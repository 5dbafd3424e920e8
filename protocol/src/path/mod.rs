//! Path migration: the same session, the same connection, another address of the client (docs/protocol.md section 13).
//!
//! QUIC follows a client to a new address by itself (RFC 9000 section 9), and tells nobody whether that worked. What it hides is
//! here, for both ends, without I/O and with the time as an argument:
//!
//! - [`probe`]: packets by which a client tries a path before it uses it.
//! - [`attempt`]: the client's end: probe, switch, confirm, or take it back.
//! - [`silence`]: the client's end: when to ask whether the relay is still heard, because nothing comes that should.
//! - [`watch`]: the relay's end: which changes of address were migrations, and how each of them ended.
//! - [`report`]: what a client tells its relay about an attempt, so that those count of which the relay saw nothing.
//! - [`vigil`]: the relay's end: how long the record of a session is kept of which nothing is heard.

pub mod attempt;
pub mod probe;
pub mod report;
pub mod silence;
pub mod vigil;
pub mod watch;
