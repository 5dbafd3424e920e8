//! What a load is.

use std::str::FromStr;
use std::time::Duration;

use crate::traffic::Flow;

/// What a pair of peers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// A numbered datagram every 2 s: nearly all peers, nearly always.
    Idle,
    /// A numbered datagram every 20 ms, as a voice or a game sends them.
    Sparse,
    /// Full datagrams, ten at a time, a thousand per second.
    Bulk,
    /// A stream of numbered blocks, sealed from end to end.
    Streams,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Sparse, Self::Bulk, Self::Streams];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Sparse => "sparse",
            Self::Bulk => "bulk",
            Self::Streams => "streams",
        }
    }

    /// The datagrams of each direction; none if it is a stream.
    pub(super) const fn flow(self) -> Option<Flow> {
        let (every, burst, length) = match self {
            Self::Idle => (Duration::from_secs(2), 1, 100),
            Self::Sparse => (Duration::from_millis(20), 1, 200),
            Self::Bulk => (Duration::from_millis(10), 10, baton_client::MAX_DATAGRAM),
            Self::Streams => return None,
        };
        Some(Flow { every, burst, length })
    }
}

/// Which share of the pairs does what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(Pattern, u32)>);

/// A mix that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// It is no list of shares.
    #[error(
        "'{0}' is no share of a pattern: write idle=70,sparse=20,bulk=5,streams=5, or some of them"
    )]
    Form(String),
    /// Nobody would do anything.
    #[error("all shares are 0: one of idle, sparse, bulk and streams must have more")]
    Nothing,
}

impl Mix {
    /// What this one of so many pairs does. The shares hold for all pairs, as nearly as whole pairs can.
    #[must_use]
    pub fn pattern(&self, pair: usize, pairs: usize) -> Pattern {
        let total: u32 = self.0.iter().map(|(_, share)| share).sum();
        let at = (pair as f64 + 0.5) / pairs.max(1) as f64 * f64::from(total);
        let mut end = 0;
        let chosen = self.0.iter().find(|(_, share)| {
            end += share;
            at < f64::from(end)
        });
        // Beyond the last share there is none: then it is the last one's.
        chosen.or(self.0.last()).map_or(Pattern::Idle, |(pattern, _)| *pattern)
    }
}

impl Default for Mix {
    fn default() -> Self {
        use Pattern::{Bulk, Idle, Sparse, Streams};
        Self(vec![(Idle, 80), (Sparse, 14), (Bulk, 2), (Streams, 4)])
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let share = |part: &str| {
            let (name, share) = part.split_once('=')?;
            let pattern = Pattern::ALL.into_iter().find(|pattern| pattern.name() == name.trim())?;
            Some((pattern, share.trim().parse::<u16>().ok()?.into()))
        };
        let shares: Result<Vec<_>, _> = text
            .split(',')
            .map(|part| share(part).ok_or_else(|| MixError::Form(part.to_owned())))
            .collect();
        match shares? {
            shares if shares.iter().all(|(_, share)| *share == 0) => Err(MixError::Nothing),
            shares => Ok(Self(shares)),
        }
    }
}

/// A load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many peers talk, at any time; rounded down to pairs.
    pub peers: usize,
    /// What they do.
    pub mix: Mix,
    /// How long, once all are there.
    pub duration: Duration,
    /// How many peers attach per second at the start.
    pub attach_per_second: f64,
    /// Which share of the pairs has a peer whose address changes, from 0 to 1.
    pub rebinding: f64,
    /// How often it changes.
    pub rebind_every: Duration,
    /// How many peers leave per second, each replaced by a new one.
    pub churn_per_second: f64,
    /// How many further peers attach per second and vanish soon, without a word.
    pub ghosts_per_second: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            peers: 100,
            mix: Mix::default(),
            duration: Duration::from_secs(10),
            attach_per_second: 200.0,
            rebinding: 0.0,
            rebind_every: Duration::from_secs(5),
            churn_per_second: 0.0,
            ghosts_per_second: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_for_all_pairs() {
        let mix: Mix = "idle=70,sparse=20,bulk=5,streams=5".parse().unwrap();
        let of = |wanted| (0..100).filter(|pair| mix.pattern(*pair, 100) == wanted).count();
        assert_eq!(Pattern::ALL.map(of), [70, 20, 5, 5]);
        let one: Mix = "streams=1".parse().unwrap();
        assert_eq!(one.pattern(6, 7), Pattern::Streams);
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in ["", "idle", "idle=", "idle=-1", "voice=3", "idle=1,,bulk=1"] {
            assert!(matches!(text.parse::<Mix>(), Err(MixError::Form(_))), "{text}");
        }
        assert_eq!("idle=0,bulk=0".parse::<Mix>(), Err(MixError::Nothing));
    }
}
