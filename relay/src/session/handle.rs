//! A session as others see it: what they may tell it, and how they give it datagrams.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::datagram;
use baton_protocol::frame::{Intent, LimitKind, Limited, PeerState};
use baton_protocol::id::{Instance, PeerId, SessionId, Stamp};
use baton_protocol::session::{End, Limits};
use quinn::Connection;
use tokio::sync::watch;

use crate::auth::Whose;
use crate::drain::Slot;
use crate::egress::Egress;
use crate::mailbox::Mailbox;
use crate::metrics::{Direction, Metrics};
use crate::paths::Given;

/// How much news may wait for a session. Of one that falls further behind, presence is dropped, and it is told so.
const MAX_NOTES: usize = 256;

/// News for one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// A watched peer changed.
    Presence(PeerId, PeerState),
    /// A datagram of this peer came for the first time.
    Sender(PeerId),
    /// A peer that it has a route to attached anew.
    Refreshed(PeerId),
    /// More came for it than may.
    Limited(Limited),
}

/// What the drain wants of a session. Only the latest counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Stay.
    Serve,
    /// Move.
    Go {
        /// When, counted from `at`.
        slot: Slot,
        /// When the slot was given.
        at: Instant,
    },
}

impl Command {
    pub(crate) const fn go(slot: Slot, at: Instant) -> Self {
        Self::Go { slot, at }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) id: SessionId,
    pub(crate) peer: PeerId,
    pub(crate) instance: Instance,
    pub(crate) group: Arc<str>,
    pub(crate) intent: Intent,
    pub(crate) connection: Connection,
    pub(crate) egress: Egress,
    /// The probe ids that it may use.
    pub(crate) given: Given,
    stamp: AtomicU64,
    announced: AtomicBool,
    moved: AtomicBool,
    /// For its own task.
    pub(super) notes: Mailbox<Note>,
    missed: AtomicBool,
    /// The limits of a receiver that it hears of, one bit for each.
    told: AtomicU32,
    command: watch::Sender<Command>,
    closed: OnceLock<End>,
    senders: Mutex<HashMap<PeerId, Option<u64>>>,
}

/// The end of a handle's channel, for its session.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) command: watch::Receiver<Command>,
}

/// Who a session is.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) id: SessionId,
    pub(crate) peer: PeerId,
    pub(crate) instance: Instance,
    pub(crate) group: Arc<str>,
    pub(crate) intent: Intent,
    pub(crate) stamp: Stamp,
}

impl Handle {
    pub(crate) fn new(who: Who, connection: Connection, egress: Egress) -> (Self, Inbox) {
        let Who { id, peer, instance, group, intent, stamp } = who;
        let (command, command_inbox) = watch::channel(Command::Serve);
        let handle = Self {
            id,
            peer,
            instance,
            group,
            intent,
            connection,
            egress,
            given: Given::default(),
            stamp: AtomicU64::new(stamp.as_u64()),
            announced: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            notes: Mailbox::new(MAX_NOTES),
            missed: AtomicBool::new(false),
            told: AtomicU32::new(0),
            command,
            closed: OnceLock::new(),
            senders: Mutex::default(),
        };
        (handle, Inbox { command: command_inbox })
    }

    /// The process that it is of.
    pub(crate) fn whose(&self) -> Whose {
        Whose { peer: self.peer, instance: self.instance }
    }

    /// Of its attachment.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::from_u64(self.stamp.load(Ordering::Acquire))
    }

    /// A higher stamp, given before the announcement.
    pub(crate) fn restamp(&self, stamp: Stamp) {
        self.stamp.store(stamp.as_u64(), Ordering::Release);
    }

    pub(crate) fn set_announced(&self) {
        self.announced.store(true, Ordering::Release);
    }

    pub(crate) fn was_announced(&self) -> bool {
        self.announced.load(Ordering::Acquire)
    }

    /// Its client said that it lives elsewhere.
    pub(crate) fn set_moved(&self) {
        self.moved.store(true, Ordering::Release);
    }

    /// It said that, and takes it back.
    pub(crate) fn set_stayed(&self) {
        self.moved.store(false, Ordering::Release);
    }

    /// Whether it came to take over, and its client has not said yet that it does.
    pub(crate) fn is_standby(&self) -> bool {
        self.intent == Intent::Handover && !self.was_announced()
    }

    /// Whether its client believes that it lives here, and may be right.
    pub(crate) fn is_home(&self) -> bool {
        self.was_announced()
            && !self.moved.load(Ordering::Acquire)
            && self.closed_as().is_none()
            && self.connection.close_reason().is_none()
    }

    /// Tells it something. News that finds no room is dropped, and the session is told that some was.
    pub(crate) fn note(&self, note: Note) {
        if self.notes.put(note) {
            return;
        }
        match note {
            // It is announced with its next datagram.
            Note::Sender(peer) => drop(self.senders().remove(&peer)),
            // It is told with the next one that is dropped.
            Note::Limited(limited) => {
                self.set_told(limited.kind, false);
            }
            Note::Presence(..) | Note::Refreshed(_) => self.missed.store(true, Ordering::Release),
        }
    }

    /// Whether news was dropped since this was asked last.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::AcqRel)
    }

    /// What the drain wants of it.
    pub(crate) fn command(&self, command: Command) {
        self.command.send_replace(command);
    }

    /// Closes it. What counts is the first reason.
    pub(crate) fn close(&self, code: CloseCode, end: End) {
        let _ = self.closed.set(end);
        self.connection.close(code.code().into(), code.name().as_bytes());
    }

    /// How this relay ended it, if it did.
    pub(crate) fn closed_as(&self) -> Option<End> {
        self.closed.get().copied()
    }

    /// Queues a datagram of `sender` for its client.
    pub(crate) fn deliver(&self, sender: PeerId, payload: &[u8], metrics: &Metrics) {
        let known = self.alias_of(sender);
        let datagram = match known {
            Some(alias) => datagram::aliased(alias, payload),
            None => datagram::long(sender.prefix(), payload),
        };
        let (connection, way) = (&self.connection, Direction::Out);
        let sent = self.egress.send(connection, sender, datagram, payload.len(), way, metrics);
        if let Err(limited) = sent {
            metrics.limited(limited.kind);
            if !self.set_told(limited.kind, true) {
                self.note(Note::Limited(limited));
            }
        }
    }

    /// Says whether its client hears of this limit. Gives whether it did before.
    fn set_told(&self, kind: LimitKind, told: bool) -> bool {
        let bit = 1 << kind.number();
        let before = if told {
            self.told.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.told.fetch_and(!bit, Ordering::AcqRel)
        };
        before & bit != 0
    }

    /// The client knows this sender by this alias.
    pub(crate) fn sender_known(&self, peer: PeerId, alias: u64) {
        if let Some(known) = self.senders().get_mut(&peer) {
            *known = Some(alias);
        }
    }

    /// The alias by which the client knows `sender`. The first datagram of a sender has it announced.
    fn alias_of(&self, sender: PeerId) -> Option<u64> {
        let mut senders = self.senders();
        if let Some(known) = senders.get(&sender) {
            return *known;
        }
        if senders.len() < Limits::default().senders {
            senders.insert(sender, None);
            drop(senders);
            self.note(Note::Sender(sender));
        }
        None
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<PeerId, Option<u64>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
