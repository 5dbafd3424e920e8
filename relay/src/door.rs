//! Who may begin a handshake: what is judged by a first packet alone, before any work is done for it. It is told the time.
//!
//! A handshake costs a relay far more than whoever asks for it. So above a threshold clients must show that their address is
//! their own (Retry, RFC 9000 section 8.1.2), which costs them a round trip and the relay next to nothing; and beyond the limit
//! all are turned away, who then try another port, which may lead to another relay.

use std::net::IpAddr;
use std::time::Instant;

use baton_protocol::bucket::Rate;

use crate::rates::{Meter, Rates, Table, Throughput};

/// Prefixes that are counted each for itself.
const MAX_PREFIXES: usize = 16_384;

/// Connections whose handshake or HELLO is under way at a time. More are turned away.
pub(crate) const MAX_JOINING: usize = 1024;

/// Connections that are no sessions: those, and what has ended or failed and is remembered for some seconds, in case that its
/// packets are late (RFC 9000 section 10.2). Each takes some 40 KiB, and nothing of whoever gave it up.
const MAX_UNFINISHED: usize = 2 * MAX_JOINING;

/// From so many on clients must show that their address is their own.
const MANY_UNFINISHED: usize = MAX_JOINING / 4;

/// A first packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    pub(crate) from: IpAddr,
    /// Its sender has shown that this is its address.
    pub(crate) is_proven: bool,
    /// It may be asked to.
    pub(crate) may_prove: bool,
    /// Connections that are no sessions.
    pub(crate) unfinished: usize,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Begin,
    /// It must show first that its address is its own.
    Prove,
    /// It is turned away, for this limit.
    Away(&'static str),
}

/// Label values of `limited_total`.
pub(crate) const HANDSHAKES: &str = "handshakes";
pub(crate) const PER_PREFIX: &str = "handshakes_per_prefix";
pub(crate) const UNFINISHED: &str = "unfinished";

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Door {
    rates: Rates,
    all: Meter,
    /// Those that showed nothing: half of all.
    unproven: Meter,
    by_prefix: Table<IpAddr>,
}

impl Door {
    pub(crate) fn new(rates: Rates, now: Instant) -> Self {
        let (all, unproven, each) = limits(rates);
        Self {
            rates,
            all: Meter::new(all, now),
            unproven: Meter::new(unproven, now),
            by_prefix: Table::new(each, MAX_PREFIXES, now),
        }
    }

    /// From now on these hold, if they are others.
    pub(crate) fn set(&mut self, rates: Rates, now: Instant) {
        if rates != self.rates {
            let (all, unproven, each) = limits(rates);
            self.all.set(all, now);
            self.unproven.set(unproven, now);
            self.by_prefix.set(each, now);
            self.rates = rates;
        }
    }

    /// What becomes of a first packet.
    pub(crate) fn knock(&mut self, knock: Knock, now: Instant) -> Verdict {
        if knock.unfinished >= MAX_UNFINISHED {
            return Verdict::Away(UNFINISHED);
        }
        if knock.may_prove && !knock.is_proven {
            // Where prefixes are counted, nobody's may be used up in somebody else's name.
            let must_prove = knock.unfinished >= MANY_UNFINISHED
                || self.rates.handshakes_per_prefix.is_some()
                || self.unproven.take(1, now).is_err();
            if must_prove {
                return Verdict::Prove;
            }
        }
        if knock.is_proven && self.by_prefix.take(prefix(knock.from), 1, now).is_err() {
            return Verdict::Away(PER_PREFIX);
        }
        match self.all.take(1, now) {
            Ok(()) => Verdict::Begin,
            Err(_) => Verdict::Away(HANDSHAKES),
        }
    }
}

/// Of all, of those that showed nothing, and of each prefix.
fn limits(rates: Rates) -> (Throughput, Throughput, Throughput) {
    let half = rates.handshakes.and_then(|rate| Rate::new(rate.get().div_ceil(2)));
    let limit = |datagrams| Throughput { datagrams, bytes: None };
    (limit(rates.handshakes), limit(half), limit(rates.handshakes_per_prefix))
}

/// What one client may be given more than one address of: an IPv6 network has 64 bits for its hosts.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn knock(from: &str, is_proven: bool) -> Knock {
        Knock { from: from.parse().unwrap(), is_proven, may_prove: true, unfinished: 0 }
    }

    fn verdicts(door: &mut Door, count: usize, knock: Knock, now: Instant) -> [usize; 3] {
        let all: Vec<_> = (0..count).map(|_| door.knock(knock, now)).collect();
        let count = |is: fn(&Verdict) -> bool| all.iter().filter(|verdict| is(verdict)).count();
        [
            count(|verdict| *verdict == Verdict::Begin),
            count(|verdict| *verdict == Verdict::Prove),
            count(|verdict| matches!(verdict, Verdict::Away(_))),
        ]
    }

    #[test]
    fn half_of_them_need_not_prove_anything_and_none_is_beyond_the_limit() {
        let now = Instant::now();
        let mut door = Door::new(Rates { handshakes: Rate::new(10), ..Rates::NONE }, now);
        let [stranger, proven] = [false, true].map(|is_proven| knock("192.0.2.1", is_proven));
        assert_eq!(verdicts(&mut door, 20, stranger, now), [5, 15, 0]);
        assert_eq!(verdicts(&mut door, 20, proven, now), [5, 0, 15]);
        assert_eq!(door.knock(proven, now), Verdict::Away(HANDSHAKES));
        // Those who were asked to prove something took nothing from those who have.
        assert_eq!(verdicts(&mut door, 20, proven, now + Duration::from_secs(1)), [10, 0, 10]);
    }

    #[test]
    fn one_prefix_takes_nothing_from_others_and_nobody_in_its_name() {
        let now = Instant::now();
        let rates = Rates { handshakes_per_prefix: Rate::new(3), ..Rates::NONE };
        let mut door = Door::new(rates, now);
        let (first, same, other) = ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1");
        assert_eq!(verdicts(&mut door, 20, knock(first, false), now), [0, 20, 0]);
        assert_eq!(verdicts(&mut door, 2, knock(first, true), now), [2, 0, 0]);
        assert_eq!(verdicts(&mut door, 5, knock(same, true), now), [1, 0, 4]);
        assert_eq!(door.knock(knock(same, true), now), Verdict::Away(PER_PREFIX));
        assert_eq!(verdicts(&mut door, 5, knock(other, true), now), [3, 0, 2]);
        assert_eq!(verdicts(&mut door, 5, knock("192.0.2.1", true), now), [3, 0, 2]);
        assert_eq!(verdicts(&mut door, 5, knock("::ffff:192.0.2.1", true), now), [0, 0, 5]);
        assert_eq!(verdicts(&mut door, 5, knock("192.0.2.2", true), now), [3, 0, 2]);
    }

    #[test]
    fn where_there_is_little_room_all_must_prove_their_address() {
        let now = Instant::now();
        let mut door = Door::new(Rates::NONE, now);
        let few = Knock { unfinished: MANY_UNFINISHED - 1, ..knock("192.0.2.1", false) };
        let many = Knock { unfinished: MANY_UNFINISHED, ..few };
        assert_eq!(door.knock(few, now), Verdict::Begin);
        assert_eq!(door.knock(many, now), Verdict::Prove);
        assert_eq!(door.knock(Knock { is_proven: true, ..many }, now), Verdict::Begin);
        let full = Knock { is_proven: true, unfinished: MAX_UNFINISHED, ..many };
        assert_eq!(door.knock(full, now), Verdict::Away(UNFINISHED));
    }

    #[test]
    fn other_rates_hold_at_once() {
        let now = Instant::now();
        let mut door = Door::new(Rates::NONE, now);
        let proven = knock("192.0.2.1", true);
        assert_eq!(verdicts(&mut door, 1000, proven, now), [1000, 0, 0]);
        door.set(Rates { handshakes: Rate::new(7), ..Rates::NONE }, now);
        assert_eq!(verdicts(&mut door, 10, proven, now), [7, 0, 3]);
        door.set(Rates { handshakes_per_prefix: Rate::new(2), ..Rates::NONE }, now);
        assert_eq!(verdicts(&mut door, 10, proven, now), [2, 0, 8]);
    }
}
