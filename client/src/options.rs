//! What can be set for each client by itself, and what of it makes no sense.

use std::time::Duration;

use baton_protocol::liveness::{
    GIVE_UP, IDLE_TIMEOUT, KEEP_ALIVE, MIGRATION_WINDOW, Timers, WrongOrder,
};
use baton_protocol::packet::FULL_MTU;
use baton_protocol::path::attempt::PROBE_DEADLINE;

use crate::config::ClientConfig;

/// No time that is set may be longer: it would be a slip of the pen, and sums of times stay what they should be.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What can be set for each client by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The largest UDP payload that is sent to a relay, found out by trying. Less than 1280 and more than 65535 are taken for
    /// these, with a warning. By default it is 1280, which the longest datagram needs: more only puts more small ones into a packet.
    pub mtu: u32,
    /// Something is sent to the relay at least this often. Two of them without a word make a connection suspect.
    pub keep_alive: Duration,
    /// Something that must be answered was not for so long: the connection is suspect too, and another is made beside it.
    pub unanswered: Duration,
    /// A connection that said nothing for so long is given up.
    pub give_up: Duration,
    /// How long a new path may take to answer before the session goes there ([`PathManager`](crate::PathManager)).
    pub probe: Duration,
    /// Nothing heard for so long ends a connection, for whoever has not given it up by then.
    pub idle: Duration,
    /// How long [`close`](crate::Client::close) waits for what is under way. Zero cuts it at once.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mtu: FULL_MTU.into(),
            keep_alive: KEEP_ALIVE,
            unanswered: Duration::from_secs(3),
            give_up: GIVE_UP,
            probe: PROBE_DEADLINE,
            idle: IDLE_TIMEOUT,
            drain: Duration::from_secs(5),
        }
    }
}

impl Options {
    /// Two keep-alives without a word.
    pub(crate) fn suspect(&self) -> Duration {
        self.timers().suspect()
    }

    /// With what the relay goes by.
    fn timers(&self) -> Timers {
        let Self { keep_alive, give_up, idle, .. } = *self;
        Timers { keep_alive, give_up, idle, migration_window: MIGRATION_WINDOW }
    }

    /// The MTU as it is used.
    pub(crate) fn clamped_mtu(&self) -> u16 {
        let clamped = u16::try_from(self.mtu).unwrap_or(u16::MAX).max(FULL_MTU);
        if u32::from(clamped) != self.mtu {
            tracing::warn!(asked = self.mtu, used = clamped, "the MTU is out of range");
        }
        clamped
    }
}

/// Something that was set and makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionFault {
    /// A time is zero, and would mean without a pause.
    #[error("{0} is zero: set a time")]
    Zero(&'static str),
    /// A time is absurd.
    #[error("{0} is longer than a day: set a shorter time")]
    TooLong(&'static str),
    /// Two times are in the wrong order.
    #[error("{shorter} ({}) must be shorter than {longer} ({})", seconds(.lengths.0), seconds(.lengths.1))]
    Order {
        /// What must be shorter.
        shorter: &'static str,
        /// Than this.
        longer: &'static str,
        /// What they are.
        lengths: Box<(Duration, Duration)>,
    },
}

impl From<WrongOrder> for OptionFault {
    fn from(wrong: WrongOrder) -> Self {
        let WrongOrder { shorter, longer, lengths } = wrong;
        Self::Order { shorter, longer, lengths: Box::new(lengths) }
    }
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// Everything that was set and makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the client's options cannot be used: {}", list(.0))]
pub struct InvalidOptions(pub Vec<OptionFault>);

fn list(faults: &[OptionFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// All faults of a configuration at once.
pub(crate) fn validate(config: &ClientConfig) -> Result<(), InvalidOptions> {
    let (options, timing) = (&config.options, &config.timing);
    let intervals = [
        ("the keep-alive interval", options.keep_alive),
        ("the time until something unanswered is suspect", options.unanswered),
        ("the time until a connection is given up", options.give_up),
        ("the idle timeout", options.idle),
        ("the time of a dial", timing.dial),
        ("the time of an answer", timing.answer),
        ("the first pause between dials", timing.backoff),
        ("the longest pause between dials", timing.max_backoff),
        ("the time to attach", config.attach_timeout.unwrap_or(LONGEST)),
        ("the time of a probe", options.probe),
    ];
    // These may be zero: at once, or not at all.
    let delays = [
        ("the time to drain", options.drain),
        ("the time that an old connection lingers", timing.linger),
        ("the time of a quick GOAWAY", timing.quick_goaway),
        ("the delay of a move", timing.move_delay),
    ];
    let zero = intervals.iter().filter(|(_, time)| time.is_zero());
    let mut faults: Vec<_> = zero.map(|(name, _)| OptionFault::Zero(name)).collect();
    let long = intervals.iter().chain(&delays).filter(|(_, time)| *time > LONGEST);
    faults.extend(long.map(|(name, _)| OptionFault::TooLong(name)));
    // Sums and orders of absurd times say nothing.
    if faults.is_empty() {
        let mut wrong = options.timers().faults();
        let order = |shorter, longer, lengths| WrongOrder { shorter, longer, lengths };
        let waits = (options.unanswered, options.give_up);
        if waits.0 >= waits.1 {
            wrong.push(order(intervals[1].0, intervals[2].0, waits));
        }
        let pauses = (timing.backoff, timing.max_backoff);
        if pauses.0 > pauses.1 {
            wrong.push(order(intervals[6].0, intervals[7].0, pauses));
        }
        faults.extend(wrong.into_iter().map(OptionFault::from));
    }
    if faults.is_empty() { Ok(()) } else { Err(InvalidOptions(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_out_of_range_is_clamped() {
        let clamped = |mtu| Options { mtu, ..Options::default() }.clamped_mtu();
        for (asked, used) in [
            (0, 1280),
            (1279, 1280),
            (1280, 1280),
            (9000, 9000),
            (65_535, 65_535),
            (65_536, 65_535),
        ] {
            assert_eq!(clamped(asked), used);
        }
        assert_eq!(clamped(u32::MAX), 65_535);
    }
}
