//! How long an end may be silent before it counts as gone: what relays say in WELCOME, and what a client goes by until it has
//! heard that (docs/protocol.md section 16).

use std::time::Duration;

/// A session that nothing is heard of for so long is over: QUIC's idle timeout at both ends.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Clients send something at least this often: often enough for NATs and for conntrack (30 s unreplied, 120 s replied).
pub const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// A client gives a connection up of which it heard nothing for so long.
pub const GIVE_UP: Duration = Duration::from_secs(45);

/// How long a relay keeps the record of a session that is suspect.
pub const MIGRATION_WINDOW: Duration = Duration::from_secs(30);

/// The times of one end, from the last packet that it received. They only make sense in one order ([`Timers::faults`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// The client sends something at least this often.
    pub keep_alive: Duration,
    /// The client gives the connection up.
    pub give_up: Duration,
    /// From the time at which a session is suspect until it is removed, if it does not come back.
    pub migration_window: Duration,
    /// QUIC's own end.
    pub idle: Duration,
}

/// Two times in the wrong order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shorter} ({} s) must be shorter than {longer} ({} s)", lengths.0.as_secs_f32(), lengths.1.as_secs_f32())]
pub struct WrongOrder {
    /// What must be shorter.
    pub shorter: &'static str,
    /// Than this.
    pub longer: &'static str,
    /// What they are.
    pub lengths: (Duration, Duration),
}

impl Timers {
    /// What both ends go by that were told nothing else.
    pub const DEFAULT: Self = Self {
        keep_alive: KEEP_ALIVE,
        give_up: GIVE_UP,
        migration_window: MIGRATION_WINDOW,
        idle: IDLE_TIMEOUT,
    };

    /// Two keep-alives without a word make a session suspect.
    #[must_use]
    pub const fn suspect(&self) -> Duration {
        self.keep_alive.saturating_mul(2)
    }

    /// Everything that is in the wrong order. A client must not give up before it suspects; the relay must keep its record for as
    /// long as the client may come back to it; and it is the relay that removes a session, not QUIC, which says nothing of it.
    #[must_use]
    pub fn faults(&self) -> Vec<WrongOrder> {
        let suspect = ("two keep-alive intervals", self.suspect());
        let give_up = ("the time until a connection is given up", self.give_up);
        let window = (
            "two keep-alive intervals and the migration window",
            suspect.1 + self.migration_window,
        );
        let idle = ("the idle timeout", self.idle);
        [(suspect, give_up), (give_up, window), (window, idle)]
            .into_iter()
            .filter(|((_, shorter), (_, longer))| shorter >= longer)
            .map(|((shorter, short), (longer, long))| WrongOrder {
                shorter,
                longer,
                lengths: (short, long),
            })
            .collect()
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_in_order_and_a_wrong_order_is_named() {
        assert_eq!(Timers::DEFAULT.faults(), []);
        let seconds = Duration::from_secs;
        let faults = |timers: Timers| -> Vec<_> {
            timers.faults().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            faults(Timers { keep_alive: seconds(30), ..Timers::DEFAULT }),
            [
                "two keep-alive intervals (60 s) must be shorter than the time until a connection is given up (45 s)",
                "two keep-alive intervals and the migration window (90 s) must be shorter than the idle timeout (60 s)",
            ]
        );
        assert_eq!(
            faults(Timers { migration_window: seconds(21), ..Timers::DEFAULT }),
            [
                "the time until a connection is given up (45 s) must be shorter than two keep-alive intervals and the migration \
                 window (45 s)"
            ]
        );
        assert_eq!(faults(Timers { idle: seconds(54), ..Timers::DEFAULT }).len(), 1);
    }
}
