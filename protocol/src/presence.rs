//! Where every peer of a pool is, as one relay knows it.
//!
//! A map from peer to its last known attachment, merged by the highest stamp (ties: the higher relay id), so that relays which
//! heard the same announcements in any order agree. What watchers are told is derived here, at the watchers' relay, and
//! nowhere else:
//!
//! - a higher stamp by handover: nothing;
//! - a higher stamp by a fresh attachment or a resume: offline, then online, always in that order;
//! - a withdrawal counts only if its stamp is the current one;
//! - a withdrawal that says `moved` waits [`MOVE_PATIENCE`] for the announcement of where to;
//! - a sibling whose link is lost keeps its peers for [`LINK_PATIENCE`];
//! - who is gone is remembered for [`TOMBSTONE`], so that an old announcement that was late does not bring it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::frame::{Intent, PeerState};
use crate::id::{Instance, PeerId, PeerPrefix, RelayId, Stamp};

/// How long a peer that moved may be without a home before it counts as offline.
pub const MOVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the peers of a sibling whose link is lost count as online.
pub const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a gone peer's last stamp is remembered: longer than any resynchronisation between relays takes.
pub const TOMBSTONE: Duration = Duration::from_secs(600);

/// One attachment of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    /// Its order among the peer's attachments.
    pub stamp: Stamp,
    /// Where it is.
    pub relay: RelayId,
    /// Of which process.
    pub instance: Instance,
    /// Who it may reach.
    pub group: String,
}

/// Why a relay withdraws an attachment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Withdrawal {
    /// The session ended.
    Gone,
    /// The peer said that it lives elsewhere.
    Moved,
}

/// What became of one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which.
    pub peer: PeerId,
    /// What watchers are told, in this order.
    pub events: Vec<PeerState>,
    /// Where datagrams for it go from now; none if it is offline.
    pub relay: Option<RelayId>,
    /// The attachment that this one replaces: if it is a session of this relay, it has lost.
    pub replaced: Option<Replaced>,
}

/// An attachment that was replaced by one which is no handover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaced {
    /// Of the loser.
    pub stamp: Stamp,
    /// Where the loser was.
    pub relay: RelayId,
    /// Whether another process attached (the loser must not come back), or the same one did.
    pub by_another_instance: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Online,
    /// Online for watchers, until then.
    Held(Instant),
    /// Offline, remembered until then.
    Tombstone(Instant),
}

impl State {
    const fn is_online(self) -> bool {
        matches!(self, Self::Online | Self::Held(_))
    }

    const fn timer(self) -> Option<Instant> {
        match self {
            Self::Online => None,
            Self::Held(until) | Self::Tombstone(until) => Some(until),
        }
    }
}

#[derive(Clone, Debug)]
struct Record {
    home: Home,
    state: State,
}

/// Where every peer is.
#[derive(Debug, Default)]
pub struct Presence {
    /// Ordered, so that a peer is found by its prefix.
    peers: BTreeMap<PeerId, Record>,
    /// One entry for each record whose state has an end.
    timers: BTreeSet<(Instant, PeerId)>,
}

impl Presence {
    /// Nobody is anywhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a peer is, if it is online.
    #[must_use]
    pub fn home(&self, peer: &PeerId) -> Option<&Home> {
        self.peers.get(peer).filter(|record| record.state.is_online()).map(|record| &record.home)
    }

    /// The online peer with this prefix.
    #[must_use]
    pub fn find(&self, prefix: PeerPrefix) -> Option<PeerId> {
        let (peer, record) = self.peers.range(prefix.first()..).next()?;
        (peer.prefix() == prefix && record.state.is_online()).then_some(*peer)
    }

    /// The stamp for a new attachment of `peer`, which showed `ticket`, at `unix_ms` milliseconds after the Unix epoch.
    #[must_use]
    pub fn next_stamp(&self, peer: &PeerId, ticket: Option<Stamp>, unix_ms: u64) -> Stamp {
        let known = self.peers.get(peer).map(|record| record.home.stamp);
        Stamp::next(known.max(ticket), unix_ms)
    }

    /// The peers that are online at `relay`, to tell a sibling.
    pub fn at(&self, relay: RelayId) -> impl Iterator<Item = (&PeerId, &Home)> {
        self.peers
            .iter()
            .filter(move |(_, record)| record.home.relay == relay && record.state == State::Online)
            .map(|(peer, record)| (peer, &record.home))
    }

    /// How many peers are online.
    #[must_use]
    pub fn online(&self) -> usize {
        self.peers.values().filter(|record| record.state.is_online()).count()
    }

    /// A peer attached, with this intent. `None` if a higher stamp is known, or if nothing changed.
    pub fn announce(&mut self, peer: PeerId, home: Home, intent: Intent) -> Option<Change> {
        let known = self.peers.get(&peer).cloned();
        if let Some(known) = &known {
            let order = (home.stamp, home.relay).cmp(&(known.home.stamp, known.home.relay));
            match order {
                std::cmp::Ordering::Less => return None,
                std::cmp::Ordering::Equal => return self.confirm(peer, known),
                std::cmp::Ordering::Greater => {}
            }
        }
        let was_online = known.as_ref().filter(|known| known.state.is_online());
        let events = match (was_online, intent) {
            (None, _) => vec![PeerState::Online],
            (Some(_), Intent::Handover) => vec![],
            (Some(_), Intent::Fresh | Intent::Resume) => {
                vec![PeerState::Offline, PeerState::Online]
            }
        };
        let replaced = was_online.filter(|_| intent != Intent::Handover).map(|known| Replaced {
            stamp: known.home.stamp,
            relay: known.home.relay,
            by_another_instance: known.home.instance != home.instance,
        });
        let relay = Some(home.relay);
        self.set(peer, home, State::Online);
        Some(Change { peer, events, relay, replaced })
    }

    /// A sibling says again what is known: after its link was lost and came back. A tombstone stays: it is the later news.
    fn confirm(&mut self, peer: PeerId, known: &Record) -> Option<Change> {
        if let State::Held(_) = known.state {
            self.set(peer, known.home.clone(), State::Online);
        }
        None
    }

    /// An attachment ended. `None` if it is not the current one, or if nothing changes yet.
    pub fn withdraw(
        &mut self,
        peer: PeerId,
        stamp: Stamp,
        relay: RelayId,
        why: Withdrawal,
        now: Instant,
    ) -> Option<Change> {
        let record = self.peers.get(&peer)?;
        if (record.home.stamp, record.home.relay) != (stamp, relay) || !record.state.is_online() {
            return None;
        }
        match why {
            Withdrawal::Gone => Some(self.bury(peer, now)),
            Withdrawal::Moved => {
                let home = record.home.clone();
                self.set(peer, home, State::Held(now + MOVE_PATIENCE));
                None
            }
        }
    }

    /// The link to `relay` is lost.
    pub fn link_lost(&mut self, relay: RelayId, now: Instant) {
        let there: Vec<_> = self.at(relay).map(|(peer, home)| (*peer, home.clone())).collect();
        for (peer, home) in there {
            self.set(peer, home, State::Held(now + LINK_PATIENCE));
        }
    }

    /// `relay` has told us, over a new link, of all its peers. Those that it did not name again are gone.
    pub fn link_synced(&mut self, relay: RelayId, now: Instant) -> Vec<Change> {
        let held =
            |record: &Record| record.home.relay == relay && matches!(record.state, State::Held(_));
        let gone: Vec<_> =
            self.peers.iter().filter(|(_, record)| held(record)).map(|(peer, _)| *peer).collect();
        gone.into_iter().map(|peer| self.bury(peer, now)).collect()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((at, peer)) = self.timers.first().copied()
            && at <= now
        {
            match self.peers.get(&peer).map(|record| record.state) {
                Some(State::Held(_)) => changes.push(self.bury(peer, now)),
                Some(State::Tombstone(_)) => {
                    self.peers.remove(&peer);
                    self.timers.remove(&(at, peer));
                }
                // Invariant: every timer belongs to a record in a state that ends then. A stray one is dropped.
                Some(State::Online) | None => {
                    self.timers.remove(&(at, peer));
                }
            }
        }
        changes
    }

    fn bury(&mut self, peer: PeerId, now: Instant) -> Change {
        if let Some(home) = self.peers.get(&peer).map(|record| record.home.clone()) {
            self.set(peer, home, State::Tombstone(now + TOMBSTONE));
        }
        Change { peer, events: vec![PeerState::Offline], relay: None, replaced: None }
    }

    fn set(&mut self, peer: PeerId, home: Home, state: State) {
        let before = self.peers.insert(peer, Record { home, state });
        if let Some(at) = before.and_then(|record| record.state.timer()) {
            self.timers.remove(&(at, peer));
        }
        if let Some(at) = state.timer() {
            self.timers.insert((at, peer));
        }
    }
}

#[cfg(test)]
mod tests;
