//! Whether other peers are there: what is watched, and what the relay last said of it.

use std::collections::BTreeMap;

use baton_protocol::frame::{Frame, PeerState};
use baton_protocol::id::PeerId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Changes that a slow watcher may leave unread before it misses the oldest of them.
const UNREAD: usize = 32;

/// The changes of one peer. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    first: Option<PeerState>,
    changes: broadcast::Receiver<PeerState>,
}

impl Watcher {
    /// How the peer is now, the first time; after that the next change. None once the client is closed.
    ///
    /// A peer that attached anew is offline, then online, always in that order. A peer that was handed over from one relay to
    /// another is not heard of at all.
    pub async fn next(&mut self) -> Option<PeerState> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            match self.changes.recv().await {
                Ok(state) => return Some(state),
                // The latest are still there, and only they matter.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// As many peers are watched as the relay allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} peers are watched, and the relay allows no more")]
pub struct TooManyWatches(pub(crate) usize);

#[derive(Debug)]
struct Watched {
    last: Option<PeerState>,
    changes: broadcast::Sender<PeerState>,
}

/// All watched peers.
#[derive(Debug)]
pub(crate) struct Watches {
    by_peer: BTreeMap<PeerId, Watched>,
    pub(crate) limit: usize,
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self { by_peer: BTreeMap::new(), limit: 1024 }
    }

    /// Watches a peer; the frame is for the relay, if it does not know yet.
    pub(crate) fn add(&mut self, peer: PeerId) -> Result<(Watcher, Option<Frame>), TooManyWatches> {
        if let Some(watched) = self.by_peer.get(&peer) {
            return Ok((
                Watcher { first: watched.last, changes: watched.changes.subscribe() },
                None,
            ));
        }
        if self.by_peer.len() >= self.limit {
            return Err(TooManyWatches(self.limit));
        }
        let (sender, changes) = broadcast::channel(UNREAD);
        self.by_peer.insert(peer, Watched { last: None, changes: sender });
        Ok((Watcher { first: None, changes }, Some(Frame::Watch { peer })))
    }

    /// PRESENCE came. A new session repeats what is known: that is no change. Gives whether it was one.
    pub(crate) fn presence(&mut self, peer: PeerId, state: PeerState) -> bool {
        let Some(watched) = self.by_peer.get_mut(&peer) else { return false };
        let changed = watched.last.replace(state) != Some(state);
        if changed {
            let _ = watched.changes.send(state);
        }
        changed
    }

    /// What a session that is new, or has lost count, must be told.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        // A relay takes no notice of a WATCH that it has already; one that comes after UNWATCH is answered.
        let both = |peer: &PeerId| [Frame::Unwatch { peer: *peer }, Frame::Watch { peer: *peer }];
        self.by_peer.keys().flat_map(both).collect()
    }

    /// Ends the watches whose watchers are gone.
    pub(crate) fn sweep(&mut self) -> Vec<Frame> {
        let unwatched = |(peer, watched): (&PeerId, &Watched)| {
            (watched.changes.receiver_count() == 0).then_some(*peer)
        };
        let gone: Vec<PeerId> = self.by_peer.iter().filter_map(unwatched).collect();
        gone.iter().for_each(|peer| drop(self.by_peer.remove(peer)));
        gone.into_iter().map(|peer| Frame::Unwatch { peer }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_bytes([1; 32]);

    #[tokio::test]
    async fn the_state_comes_first_and_then_its_changes() {
        let mut watches = Watches::new();
        let (mut watcher, frame) = watches.add(PEER).unwrap();
        assert_eq!(frame, Some(Frame::Watch { peer: PEER }));
        for state in [PeerState::Online, PeerState::Online, PeerState::Offline, PeerState::Online] {
            watches.presence(PEER, state);
        }
        for state in [PeerState::Online, PeerState::Offline, PeerState::Online] {
            assert_eq!(watcher.next().await, Some(state));
        }
        let (mut second, frame) = watches.add(PEER).unwrap();
        assert_eq!(frame, None, "the relay knows");
        assert_eq!(second.next().await, Some(PeerState::Online));
    }

    #[tokio::test]
    async fn a_slow_watcher_misses_the_oldest_and_ends_right() {
        let mut watches = Watches::new();
        let (mut watcher, _) = watches.add(PEER).unwrap();
        for n in 0..101 {
            watches.presence(PEER, if n % 2 == 0 { PeerState::Online } else { PeerState::Offline });
        }
        drop(watches);
        let mut last = None;
        while let Some(state) = watcher.next().await {
            last = Some(state);
        }
        assert_eq!(last, Some(PeerState::Online));
    }

    #[test]
    fn a_watch_ends_with_its_last_watcher() {
        let mut watches = Watches::new();
        let (watcher, _) = watches.add(PEER).unwrap();
        assert_eq!(watches.sweep(), []);
        drop(watcher);
        assert_eq!(watches.sweep(), [Frame::Unwatch { peer: PEER }]);
        assert_eq!(watches.frames(), []);
    }
}
