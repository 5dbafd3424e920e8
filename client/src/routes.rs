//! The routes to other peers, and over which session each of them is used.
//!
//! A route has one alias for its whole life, the same on every session. It is opened on each session as soon as that has its
//! WELCOME, and used there once the session is in use *and* the relay has answered OPENED: until then it is used where it was,
//! because a relay drops datagrams with an alias that it does not know, and streams and datagrams overtake each other.
//!
//! Sans-IO but for the queues that it hands datagrams to: the driver tells what the sessions said and writes the frames.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_protocol::attachment::Slot;
use baton_protocol::datagram::{FIRST_ALIAS, aliased};
use baton_protocol::frame::{Frame, NoticeCode};
use baton_protocol::id::PeerId;
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::session::queue::{Full, Room, SendQueue, lock};

/// Datagrams that wait for a route to be opened.
const HELD: usize = 16;

/// A route that nobody holds and nothing was sent on for so long is shut. Longer than inner connections idle.
const UNUSED: Duration = Duration::from_secs(120);

/// Until a relay has said how many routes it allows.
const LIMIT: usize = 256;

/// How a route is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteState {
    /// The relay has not answered yet.
    Opening,
    /// Datagrams flow.
    Open,
    /// The relay has told that the peer is not attached, or does not let us in. Datagrams will flow when it does.
    Offline,
    /// The relay allows no more routes.
    TooMany,
}

/// No more routes can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} routes in use, and the relay allows no more")]
pub struct TooManyRoutes(usize);

#[derive(Debug)]
struct Entry {
    alias: u64,
    asked: Vec<Slot>,
    opened: Vec<Slot>,
    via: Option<(Slot, Arc<SendQueue>)>,
    held: VecDeque<Bytes>,
    used_at: Instant,
    state: watch::Sender<RouteState>,
}

#[derive(Debug)]
struct Table {
    by_peer: HashMap<PeerId, Entry>,
    by_alias: HashMap<u64, PeerId>,
    next_alias: u64,
    current: Option<(Slot, Arc<SendQueue>)>,
    limit: usize,
    /// Aliases of routes that were pushed out by others, to be shut.
    evicted: Vec<u64>,
}

/// All routes of a client.
#[derive(Debug)]
pub(crate) struct Routes {
    table: Mutex<Table>,
    /// Some route wants to be opened, or shut.
    pub(crate) wanted: Notify,
    pub(crate) room: Arc<Room>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let table = Table {
            by_peer: HashMap::new(),
            by_alias: HashMap::new(),
            next_alias: FIRST_ALIAS,
            current: None,
            limit: LIMIT,
            evicted: Vec::new(),
        };
        Self { table: Mutex::new(table), wanted: Notify::new(), room: Arc::default() }
    }

    /// A route to `peer`, opened if there is none. It is kept while the receiver lives.
    pub(crate) fn hold(
        &self,
        peer: PeerId,
        now: Instant,
    ) -> Result<watch::Receiver<RouteState>, TooManyRoutes> {
        let mut table = lock(&self.table);
        let entry = self.entry(&mut table, peer, now)?;
        // What the relay said of the peer before is news of yesterday: it will say so again.
        let forget = |state: &mut RouteState| {
            *state == RouteState::Offline && std::mem::replace(state, RouteState::Open) != *state
        };
        entry.state.send_if_modified(forget);
        Ok(entry.state.subscribe())
    }

    /// Sends a datagram of the owner's.
    pub(crate) fn send(
        &self,
        peer: PeerId,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), TooManyRoutes> {
        let mut table = lock(&self.table);
        let entry = self.entry(&mut table, peer, now)?;
        entry.used_at = now;
        let datagram = aliased(entry.alias, payload);
        match &entry.via {
            Some((_, queue)) => queue.push(datagram),
            None => entry.keep(datagram),
        }
        Ok(())
    }

    /// Sends a packet of an inner connection. [`Full`] means that it should be tried again when [`can_send`](Self::can_send).
    pub(crate) fn send_inner(&self, peer: PeerId, packet: &[u8], now: Instant) -> Result<(), Full> {
        let mut table = lock(&self.table);
        let current = table.current.as_ref().map(|(slot, _)| *slot);
        // Without a session packets wait where they are: they leave as soon as there is one.
        if current.is_none() {
            return Err(Full);
        }
        // One route too many is one peer that is not reached: the others need not wait for it.
        let Ok(entry) = self.entry(&mut table, peer, now) else { return Ok(()) };
        entry.used_at = now;
        let datagram = aliased(entry.alias, packet);
        match &entry.via {
            Some((slot, queue)) => match queue.push_inner(datagram) {
                Err(Full) if current == Some(*slot) => Err(Full),
                // A session that is left behind is full: to wait for it would be to wait for nothing.
                _ => Ok(()),
            },
            None => {
                // The first packets of a flight are worth more to QUIC than its last.
                if entry.held.len() < HELD {
                    entry.keep(datagram);
                }
                Ok(())
            }
        }
    }

    /// Whether packets of inner connections have somewhere to go.
    pub(crate) fn can_send(&self) -> bool {
        lock(&self.table).current.as_ref().is_some_and(|(_, queue)| queue.has_room())
    }

    /// The SHUT frames that every session should have now.
    pub(crate) fn shut_frames(&self) -> Vec<Frame> {
        lock(&self.table).evicted.drain(..).map(|alias| Frame::Shut { alias }).collect()
    }

    /// The OPEN frames that this session should have and has not had.
    pub(crate) fn open_frames(&self, slot: Slot) -> Vec<Frame> {
        let mut table = lock(&self.table);
        let mut frames = Vec::new();
        for (peer, entry) in &mut table.by_peer {
            if !entry.asked.contains(&slot) {
                entry.asked.push(slot);
                frames.push(Frame::Open { alias: entry.alias, peer: *peer });
            }
        }
        frames
    }

    /// OPENED came. Gives the peer that can be reached from now on, if it could not before.
    pub(crate) fn opened(&self, slot: Slot, alias: u64) -> Option<PeerId> {
        let mut table = lock(&self.table);
        let current = table.current.clone();
        let peer = table.by_alias.get(&alias).copied()?;
        let entry = table.by_peer.get_mut(&peer)?;
        if !entry.opened.contains(&slot) {
            entry.opened.push(slot);
        }
        let had_none = entry.via.is_none();
        entry.use_if_opened(current.as_ref());
        (had_none && entry.via.is_some()).then_some(peer)
    }

    /// NOTICE came.
    pub(crate) fn notice(&self, slot: Slot, alias: u64, code: NoticeCode) {
        let mut table = lock(&self.table);
        let in_use = table.current.as_ref().is_some_and(|(current, _)| *current == slot);
        let Some(peer) = table.by_alias.get(&alias).copied() else { return };
        let Some(entry) = table.by_peer.get_mut(&peer) else { return };
        match code {
            NoticeCode::Offline if in_use => {
                entry.state.send_replace(RouteState::Offline);
            }
            NoticeCode::TooMany => {
                entry.state.send_replace(RouteState::TooMany);
            }
            // It is opened on the next session, or here if this one stays after all.
            NoticeCode::GoingAway | NoticeCode::Offline => {}
        }
    }

    /// The session stays after all: what it refused may be asked again.
    pub(crate) fn may_ask_again(&self, slot: Slot) {
        for entry in lock(&self.table).by_peer.values_mut() {
            if !entry.opened.contains(&slot) {
                entry.asked.retain(|asked| *asked != slot);
            }
        }
    }

    /// From now on this session is used, for each route as soon as it is open there.
    pub(crate) fn use_session(&self, slot: Slot, queue: Arc<SendQueue>, limit: usize) {
        let mut table = lock(&self.table);
        let current = Some((slot, queue));
        table.current.clone_from(&current);
        table.limit = limit;
        for entry in table.by_peer.values_mut() {
            entry.use_if_opened(current.as_ref());
        }
        drop(table);
        self.room.wake();
    }

    /// The session is no more.
    pub(crate) fn closed(&self, slot: Slot) {
        let mut table = lock(&self.table);
        table.current.take_if(|(current, _)| *current == slot);
        for entry in table.by_peer.values_mut() {
            entry.asked.retain(|asked| *asked != slot);
            entry.opened.retain(|opened| *opened != slot);
            if entry.via.take_if(|(via, _)| *via == slot).is_some() {
                entry.state.send_replace(RouteState::Opening);
            }
        }
    }

    /// Forgets routes that nobody needs.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut table = lock(&self.table);
        let unused = |entry: &Entry| {
            entry.is_free() && now.saturating_duration_since(entry.used_at) >= UNUSED
        };
        let peers: Vec<PeerId> = table
            .by_peer
            .iter()
            .filter(|(_, entry)| unused(entry))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in &peers {
            table.remove(peer);
        }
        if !peers.is_empty() {
            self.wanted.notify_one();
        }
    }

    fn entry<'a>(
        &self,
        table: &'a mut Table,
        peer: PeerId,
        now: Instant,
    ) -> Result<&'a mut Entry, TooManyRoutes> {
        if !table.by_peer.contains_key(&peer) {
            table.make_room()?;
            let alias = table.next_alias;
            table.next_alias += 1;
            let (state, _) = watch::channel(RouteState::Opening);
            let entry = Entry {
                alias,
                asked: Vec::new(),
                opened: Vec::new(),
                via: None,
                held: VecDeque::new(),
                used_at: now,
                state,
            };
            table.by_alias.insert(alias, peer);
            table.by_peer.insert(peer, entry);
            self.wanted.notify_one();
        }
        let limit = table.limit;
        table.by_peer.get_mut(&peer).ok_or(TooManyRoutes(limit))
    }
}

impl Entry {
    fn keep(&mut self, datagram: Bytes) {
        if self.held.len() == HELD {
            self.held.pop_front();
        }
        self.held.push_back(datagram);
    }

    fn is_free(&self) -> bool {
        self.state.receiver_count() == 0
    }

    fn use_if_opened(&mut self, current: Option<&(Slot, Arc<SendQueue>)>) {
        let Some((slot, queue)) = current.filter(|(slot, _)| self.opened.contains(slot)) else {
            return;
        };
        for datagram in self.held.drain(..) {
            queue.push(datagram);
        }
        self.via = Some((*slot, queue.clone()));
        self.state.send_replace(RouteState::Open);
    }
}

impl Table {
    /// The least used of the routes that nobody holds goes, if there are as many as there may be.
    fn make_room(&mut self) -> Result<(), TooManyRoutes> {
        if self.by_peer.len() < self.limit {
            return Ok(());
        }
        let free = self.by_peer.iter().filter(|(_, entry)| entry.is_free());
        let least = free.min_by_key(|(_, entry)| entry.used_at).map(|(peer, _)| *peer);
        self.remove(&least.ok_or(TooManyRoutes(self.limit))?);
        Ok(())
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Some(entry) = self.by_peer.remove(peer) {
            self.by_alias.remove(&entry.alias);
            self.evicted.push(entry.alias);
        }
    }
}

#[cfg(test)]
mod tests;
