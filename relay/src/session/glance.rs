//! What is seen of a session from outside, without its task: where its client is, whether it is heard, and whether the rules are still
//! those that it was let in by. Nearly always there is no news in that, and its task sleeps on. Without I/O: it is told what there is
//! to see, and the time.

use std::net::SocketAddr;
use std::time::Instant;

use baton_protocol::liveness::Timers;
use baton_protocol::path::vigil::{Standing, Vigil};
use baton_protocol::path::watch::Place;
use quinn::Connection;

/// What there is to see of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sight {
    /// Where its client is.
    pub(crate) place: Place,
    /// How many packets of its client were heard.
    pub(crate) heard: u64,
}

impl Sight {
    pub(crate) fn of(connection: &Connection) -> Self {
        let (address, stats) = (connection.remote_address(), connection.stats());
        let challenges = stats.frame_tx.path_challenge;
        Self { place: Place { address, challenges }, heard: stats.udp_rx.datagrams }
    }
}

/// Where a client is, compared with the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whereabouts {
    /// It has not moved.
    Same,
    /// It has.
    Elsewhere,
    /// Nothing came from there: QUIC has gone back by itself, because its own validation of the path was lost. The client's next packet
    /// takes it along again.
    WentBack,
}

/// What a look has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Look {
    /// The session's task has something to do.
    pub(crate) is_news: bool,
    /// It is suspect now, and was not (1), or the other way round (-1).
    pub(crate) suspects: i64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Glance {
    vigil: Vigil,
    standing: Standing,
    /// At the last look.
    address: SocketAddr,
    heard: u64,
    /// The rules at the last look; none were looked at before the first.
    rules: Option<u64>,
    /// There is no session any more.
    is_over: bool,
}

impl Glance {
    /// Of a session that was just heard, at this address.
    pub(crate) const fn new(address: SocketAddr, now: Instant) -> Self {
        let (vigil, standing) = (Vigil::new(now), Standing::Alive);
        Self { vigil, standing, address, heard: 0, rules: None, is_over: false }
    }

    /// Looks at it. `rules` is the number of those that hold.
    pub(crate) fn look(&mut self, sight: Sight, rules: u64, timers: &Timers, now: Instant) -> Look {
        if self.is_over {
            return Look::default();
        }
        let was_suspect = self.vigil.is_suspect();
        self.standing = self.vigil.look(timers, sight.heard, now);
        let suspects = i64::from(self.vigil.is_suspect()) - i64::from(was_suspect);
        let has_moved = self.find(sight) == Whereabouts::Elsewhere;
        let has_new_rules = self.rules.replace(rules) != Some(rules);
        let is_news = has_moved || has_new_rules || self.standing == Standing::Gone;
        Look { is_news, suspects }
    }

    /// Finds where the client is.
    pub(crate) fn find(&mut self, sight: Sight) -> Whereabouts {
        let address = std::mem::replace(&mut self.address, sight.place.address);
        let heard = std::mem::replace(&mut self.heard, sight.heard);
        if address == self.address {
            Whereabouts::Same
        } else if heard == self.heard {
            self.address = address;
            Whereabouts::WentBack
        } else {
            Whereabouts::Elsewhere
        }
    }

    /// What the last look made of it.
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// There is no session any more. Whether it was suspect until now.
    pub(crate) const fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.is_over, true) && self.vigil.is_suspect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULES: u64 = 7;

    fn sight(port: u16, heard: u64) -> Sight {
        Sight { place: Place { address: ([192, 0, 2, 1], port).into(), challenges: 0 }, heard }
    }

    /// Looked at once: the rules are no news.
    fn looked_at(start: Instant) -> Glance {
        let mut glance = Glance::new(sight(1, 0).place.address, start);
        let first = glance.look(sight(1, 1), RULES, &Timers::DEFAULT, start);
        assert_eq!(
            first,
            Look { is_news: true, suspects: 0 },
            "what it was let in by is not known"
        );
        glance
    }

    #[test]
    fn an_idle_session_is_no_news() {
        let start = Instant::now();
        let mut glance = looked_at(start);
        for second in 1..3600 {
            let now = start + Duration::from_secs(second);
            // It keeps alive.
            let look = glance.look(sight(1, 1 + second / 12), RULES, &Timers::DEFAULT, now);
            assert_eq!(look, Look::default(), "second {second}");
        }
    }

    #[test]
    fn another_address_is_news_once_and_other_rules_are() {
        let now = Instant::now();
        let mut glance = looked_at(now);
        let mut news = |port, heard, rules| {
            glance.look(sight(port, heard), rules, &Timers::DEFAULT, now).is_news
        };
        assert_eq!([news(2, 2, RULES), news(2, 3, RULES)], [true, false]);
        assert_eq!([news(2, 3, RULES + 1), news(2, 4, RULES + 1)], [true, false]);
    }

    #[test]
    fn a_path_that_quic_left_by_itself_is_none_until_something_comes() {
        let now = Instant::now();
        let mut glance = looked_at(now);
        let mut find = |port, heard| glance.find(sight(port, heard));
        assert_eq!(find(2, 2), Whereabouts::Elsewhere);
        assert_eq!([find(1, 2), find(1, 2)], [Whereabouts::WentBack; 2]);
        assert_eq!(find(2, 3), Whereabouts::Same, "it came along again");
        assert_eq!(find(1, 3), Whereabouts::WentBack);
        assert_eq!(find(1, 4), Whereabouts::Elsewhere, "the client has gone back");
    }

    #[test]
    fn who_falls_silent_is_suspect_then_news_and_counted_no_more_when_it_is_over() {
        let start = Instant::now();
        let mut glance = looked_at(start);
        let mut told = Vec::new();
        for second in 1..=60 {
            let now = start + Duration::from_secs(second);
            let look = glance.look(sight(1, 1), RULES, &Timers::DEFAULT, now);
            if look != Look::default() {
                told.push((second, look));
            }
        }
        assert_eq!(told[0], (24, Look { is_news: false, suspects: 1 }));
        let gone: Vec<_> = (54..=60).map(|s| (s, Look { is_news: true, suspects: 0 })).collect();
        assert_eq!(told[1..], gone);
        assert_eq!(glance.standing(), Standing::Gone);
        assert_eq!([glance.end(), glance.end()], [true, false]);
        let later = start + Duration::from_secs(61);
        let look = glance.look(sight(2, 2), RULES + 1, &Timers::DEFAULT, later);
        assert_eq!(look, Look::default(), "there is nobody");
    }

    #[test]
    fn who_comes_back_is_suspect_no_more() {
        let start = Instant::now();
        let mut glance = looked_at(start);
        let mut suspects = |heard, second| {
            let now = start + Duration::from_secs(second);
            glance.look(sight(1, heard), RULES, &Timers::DEFAULT, now).suspects
        };
        assert_eq!([suspects(1, 30), suspects(1, 31), suspects(2, 32)], [1, 0, -1]);
        assert!(!glance.end());
    }
}
