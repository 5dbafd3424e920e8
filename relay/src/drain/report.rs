//! How a drain went.

use std::time::Duration;

use baton_protocol::session::Outcome;
use serde::Serialize;

/// Counts of one drain. `at_flag + stragglers = remaining + moved + left + forced + silent`, unless it was cancelled: then the
/// sessions that stayed are in none of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Of the flag.
    pub id: String,
    /// Sessions in the snapshot.
    pub at_flag: u64,
    /// Sessions registered since.
    pub stragglers: u64,
    /// Of both, those that acknowledged.
    pub acknowledged: u64,
    /// Of those, the ones that have ended.
    pub(super) acknowledged_and_gone: u64,
    /// Those still here.
    pub remaining: u64,
    /// See [`Outcome::Moved`].
    pub moved: u64,
    /// See [`Outcome::Left`].
    pub left: u64,
    /// See [`Outcome::Forced`].
    pub forced: u64,
    /// See [`Outcome::Silent`].
    pub silent: u64,
    /// Whether the flag was withdrawn.
    pub cancelled: bool,
    /// Until the deadline; `None` if the flag was withdrawn.
    pub left_over: Option<Duration>,
}

impl Report {
    pub(super) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Moved => &mut self.moved,
            Outcome::Left => &mut self.left,
            Outcome::Forced => &mut self.forced,
            Outcome::Silent => &mut self.silent,
        } += 1;
    }
}

impl Serialize for Report {
    /// In the form of the drain contract.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        let counts = [
            ("atFlag", self.at_flag),
            ("stragglers", self.stragglers),
            ("acked", self.acknowledged),
            ("remaining", self.remaining),
            ("moved", self.moved),
            ("left", self.left),
            ("forced", self.forced),
            ("silent", self.silent),
        ];
        for (name, count) in counts {
            map.serialize_entry(name, &count)?;
        }
        map.serialize_entry("cancelled", &self.cancelled)?;
        let tenths = self.left_over.unwrap_or_default().as_millis() / 100;
        map.serialize_entry("secondsLeft", &(tenths as f64 / 10.0))?;
        map.end()
    }
}
