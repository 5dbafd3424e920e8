//! The way of a datagram that does not fit the path: a unidirectional stream of its own, which holds the datagram's bytes and
//! then ends (docs/protocol.md section 9).
//!
//! Streams are dearer than datagrams, so all of it is bounded: how many there are at a time, how long each is, and how long it
//! may take. What does not fit these bounds is dropped, like any datagram.

use std::time::Duration;

use crate::datagram::{MAX_HEADER, MAX_PAYLOAD};

/// How many a relay takes at a time from a session. Each costs it memory also while there is none.
pub const TAKEN_BY_RELAY: u32 = 16;

/// How many a client takes at a time.
pub const TAKEN_BY_CLIENT: u32 = 32;

/// The longest datagram that goes by a stream.
pub const LONGEST: usize = MAX_HEADER + MAX_PAYLOAD;

/// Whoever sends waits at most so long for a stream, and then for its arrival; whoever takes it, for its end. A datagram that is
/// later is worth nothing any more.
pub const PATIENCE: Duration = Duration::from_secs(2);
