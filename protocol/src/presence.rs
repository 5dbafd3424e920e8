//! Where every peer of a pool is, as one relay knows it.
//!
//! A map from peer to its last known attachment, merged by the highest stamp (ties: the higher relay id), so that relays which
//! heard the same announcements in any order agree. What watchers are told is derived here, at the watchers' relay, and
//! nowhere else:
//!
//! - a higher stamp by handover of the same process: nothing;
//! - any other higher stamp: offline, then online, always in that order. That goes for a handover of another process too: it
//!   began before that process was superseded;
//! - a withdrawal counts only if its stamp is the current one;
//! - a withdrawal that says `moved` waits [`MOVE_PATIENCE`] for the announcement of where to;
//! - what only the client said (MOVED) is believed for [`MOVE_PATIENCE`], until its new relay says it too;
//! - a sibling whose link is lost keeps its peers for [`LINK_PATIENCE`];
//! - who is gone is remembered for [`TOMBSTONE`], so that an old announcement that was late does not bring it back. Who is
//!   only presumed gone comes back when its relay names it again;
//! - of more than [`MAX_TOMBSTONES`] who are gone the oldest are forgotten: a key costs its maker nothing.

use std::cmp::Ordering;
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

/// So many who are gone are remembered: some 30 MB. Two hundred that come and go in each second are not so many.
pub const MAX_TOMBSTONES: usize = 131_072;

/// Tombstones end in their order, and so do others that are held: among so many of these the next tombstone is looked for.
const LOOKED_THROUGH: usize = 1024;

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
    /// How it came there. It stays with the attachment: who hears of it late must judge it as those who heard it at once.
    pub intent: Intent,
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
    /// The group in which it was online before; none if it was offline.
    pub before: Option<String>,
    /// The group in which it is online now; none if it is offline.
    pub after: Option<String>,
    /// Whether the same process goes on without a break: who saw it before and sees it now is told nothing.
    pub unbroken: bool,
    /// Where datagrams for it go from now; none if it is offline.
    pub relay: Option<RelayId>,
    /// The attachment that this one replaces: if it is a session of this relay, it has lost.
    pub replaced: Option<Replaced>,
}

impl Change {
    /// What watchers of this group are told, in this order. A peer of another group looks as if it were offline.
    #[must_use]
    pub fn events(&self, group: &str) -> &'static [PeerState] {
        let seen = |peer: &Option<String>| peer.as_deref() == Some(group);
        match (seen(&self.before), seen(&self.after)) {
            (true, true) if !self.unbroken => &[PeerState::Offline, PeerState::Online],
            (false, true) => &[PeerState::Online],
            (true, false) => &[PeerState::Offline],
            (true, true) | (false, false) => &[],
        }
    }
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

/// What a peer that is held waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hold {
    /// The link to its relay.
    Link,
    /// The announcement of where it moved to.
    Move,
    /// The announcement of what its client said.
    Rumour,
}

/// How it is known that a peer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    /// Its relay said so.
    Withdrawn,
    /// Nothing was heard for too long.
    Presumed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Online,
    /// Online for watchers, until then.
    Held(Instant, Hold),
    /// Offline, remembered until then.
    Tombstone(Instant, Gone),
}

impl State {
    const fn is_online(self) -> bool {
        matches!(self, Self::Online | Self::Held(..))
    }

    const fn timer(self) -> Option<Instant> {
        match self {
            Self::Online => None,
            Self::Held(until, _) | Self::Tombstone(until, _) => Some(until),
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
    /// Records that are online.
    online: usize,
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

    /// The last attachment of a peer that is known, also if the peer is gone.
    #[must_use]
    pub fn last(&self, peer: &PeerId) -> Option<&Home> {
        self.peers.get(peer).map(|record| &record.home)
    }

    /// The stamp for a new attachment of `peer`, which showed `ticket`, at `unix_ms` milliseconds after the Unix epoch.
    #[must_use]
    pub fn next_stamp(&self, peer: &PeerId, ticket: Option<Stamp>, unix_ms: u64) -> Stamp {
        let known = self.last(peer).map(|home| home.stamp);
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
    pub const fn online(&self) -> usize {
        self.online
    }

    /// A peer's relay says that it attached. `None` if a higher stamp is known, or if nothing changed.
    pub fn announce(&mut self, peer: PeerId, home: Home) -> Option<Change> {
        match self.compare(&peer, &home) {
            Ordering::Less => None,
            Ordering::Equal => self.confirm(peer, home),
            Ordering::Greater => Some(self.replace(peer, home, State::Online)),
        }
    }

    /// A peer's client says that it attached elsewhere. It may say what is not so: its new relay must say it soon.
    pub fn rumour(&mut self, peer: PeerId, home: Home, now: Instant) -> Option<Change> {
        let held = State::Held(now + MOVE_PATIENCE, Hold::Rumour);
        let news = self.compare(&peer, &home) == Ordering::Greater;
        news.then(|| self.replace(peer, home, held))
    }

    /// The order of `home` to what is known, also of who is gone.
    fn compare(&self, peer: &PeerId, home: &Home) -> Ordering {
        self.last(peer).map_or(Ordering::Greater, |known| {
            (home.stamp, home.relay).cmp(&(known.stamp, known.relay))
        })
    }

    fn replace(&mut self, peer: PeerId, home: Home, state: State) -> Change {
        let known = self.home(&peer).cloned();
        let same = known.as_ref().is_some_and(|known| known.instance == home.instance);
        let unbroken = same && home.intent == Intent::Handover;
        let (after, relay) = (Some(home.group.clone()), Some(home.relay));
        self.set(peer, home, state);
        let replaced = known.as_ref().filter(|_| !unbroken).map(|known| Replaced {
            stamp: known.stamp,
            relay: known.relay,
            by_another_instance: !same,
        });
        let before = known.map(|known| known.group);
        Change { peer, before, after, unbroken, relay, replaced }
    }

    /// A relay says again what is known: after its link was lost and came back, or after the client said it. Who withdrew
    /// stays gone: that is the later news.
    fn confirm(&mut self, peer: PeerId, home: Home) -> Option<Change> {
        match self.peers.get(&peer)?.state {
            State::Held(..) => {
                self.set(peer, home, State::Online);
                None
            }
            State::Tombstone(_, Gone::Presumed) => {
                let change = Change { unbroken: true, ..self.replace(peer, home, State::Online) };
                Some(change)
            }
            State::Online | State::Tombstone(_, Gone::Withdrawn) => None,
        }
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
        let home = self.home(&peer).filter(|home| (home.stamp, home.relay) == (stamp, relay))?;
        match why {
            Withdrawal::Gone => Some(self.bury(peer, Gone::Withdrawn, now)),
            Withdrawal::Moved => {
                let held = State::Held(now + MOVE_PATIENCE, Hold::Move);
                self.set(peer, home.clone(), held);
                None
            }
        }
    }

    /// The link to `relay` is lost.
    pub fn link_lost(&mut self, relay: RelayId, now: Instant) {
        let there: Vec<_> = self.at(relay).map(|(peer, home)| (*peer, home.clone())).collect();
        for (peer, home) in there {
            self.set(peer, home, State::Held(now + LINK_PATIENCE, Hold::Link));
        }
    }

    /// `relay` has told us, over a new link, of all its peers. Those that it did not name again are gone. Whoever moved, or
    /// says so, is waited for all the same: its new relay may say it a moment later.
    pub fn link_synced(&mut self, relay: RelayId, now: Instant) -> Vec<Change> {
        let unnamed = |record: &Record| {
            record.home.relay == relay && matches!(record.state, State::Held(_, Hold::Link))
        };
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, record)| unnamed(record))
            .map(|(peer, _)| *peer)
            .collect();
        gone.into_iter().map(|peer| self.bury(peer, Gone::Withdrawn, now)).collect()
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
                Some(State::Held(_, Hold::Move)) => {
                    changes.push(self.bury(peer, Gone::Withdrawn, now));
                }
                Some(State::Held(..)) => changes.push(self.bury(peer, Gone::Presumed, now)),
                Some(State::Tombstone(..)) => {
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

    fn bury(&mut self, peer: PeerId, how: Gone, now: Instant) -> Change {
        let known = self.home(&peer).cloned();
        let before = known.as_ref().map(|home| home.group.clone());
        if let Some(home) = known {
            self.set(peer, home, State::Tombstone(now + TOMBSTONE, how));
            if self.peers.len() - self.online > MAX_TOMBSTONES {
                self.forget_oldest();
            }
        }
        Change { peer, before, after: None, unbroken: false, relay: None, replaced: None }
    }

    fn forget_oldest(&mut self) {
        let is_gone = |peer: &PeerId| self.peers.get(peer).is_some_and(|it| !it.state.is_online());
        let mut next = self.timers.iter().take(LOOKED_THROUGH);
        if let Some(timer) = next.find(|(_, peer)| is_gone(peer)).copied() {
            self.timers.remove(&timer);
            self.peers.remove(&timer.1);
        }
    }

    fn set(&mut self, peer: PeerId, home: Home, state: State) {
        self.online += usize::from(state.is_online());
        if let Some(before) = self.peers.insert(peer, Record { home, state }) {
            self.online -= usize::from(before.state.is_online());
            if let Some(at) = before.state.timer() {
                self.timers.remove(&(at, peer));
            }
        }
        if let Some(at) = state.timer() {
            self.timers.insert((at, peer));
        }
    }
}

#[cfg(test)]
mod tests;
