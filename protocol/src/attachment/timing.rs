//! How patient a client is.

use std::time::Duration;

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the first packet of a dial to WELCOME.
    pub dial: Duration,
    /// From ACTIVE to ACTIVE_OK, and from MOVED to MOVED_OK.
    pub answer: Duration,
    /// How long the old connection is still read after the move.
    pub linger: Duration,
    /// The first pause between failed dials; it doubles.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// How often a dial that was turned away is made again at once, from a new port.
    pub turned_away: u32,
    /// A GOAWAY, or an end, that comes sooner after WELCOME than this looks like a loop, the second time in a row.
    pub quick_goaway: Duration,
    /// How much longer than GOAWAY says a move is held back. Zero, but for drills that want a session which acknowledges and
    /// does not go yet.
    pub move_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(5),
            answer: Duration::from_secs(3),
            linger: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            turned_away: 8,
            quick_goaway: Duration::from_secs(5),
            move_delay: Duration::ZERO,
        }
    }
}
