//! How long an end may be silent before it counts as gone: what relays say in WELCOME, and what a client goes by until it has
//! heard that (docs/protocol.md section 16).

use std::time::Duration;

/// A session that nothing is heard of for so long is over: QUIC's idle timeout at both ends.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Clients send something at least this often: often enough for NATs and for conntrack (30 s unreplied, 120 s replied).
pub const KEEP_ALIVE: Duration = Duration::from_secs(12);
