//! A session as others see it: what they may tell it, and how they give it datagrams.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use baton_protocol::close::CloseCode;
use baton_protocol::datagram::Label;
use baton_protocol::frame::{Intent, LimitKind, Limited, PeerState, PolicyMode, Rule};
use baton_protocol::id::{Instance, PeerId, SessionId, Stamp};
use baton_protocol::policy::TooManyNames;
use baton_protocol::session::End;
use quinn::Connection;
use tokio::sync::{Notify, watch};

use super::glance::Glance;
use super::senders::{Judged, Senders, TooOften};
use crate::arrivals::Comes;
use crate::auth::Whose;
use crate::drain::Slot;
use crate::egress::{Egress, Outgoing};
use crate::mailbox::Mailbox;
use crate::metrics::{Direction, Dropped, Metrics};
use crate::paths::Given;

/// How much news may wait for a session. Of one that falls further behind, presence is dropped, and it is told so.
const MAX_NOTES: usize = 256;

/// News for one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// A watched peer changed.
    Presence(PeerId, PeerState),
    /// A datagram of this peer came for the first time. A stranger is of another group.
    Sender { peer: PeerId, stranger: bool },
    /// This peer sent something, and is not let in.
    Knock(PeerId),
    /// What it sent to this peer, who is at a sibling, was not let in.
    Unreached(PeerId),
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
    /// It is no home before its client has set its policy.
    policy_first: AtomicBool,
    /// Its policy may let strangers in, or did once.
    reaches_further: AtomicBool,
    announced: AtomicBool,
    moved: AtomicBool,
    /// For its own task.
    pub(super) notes: Mailbox<Note>,
    /// The same: it was looked at, and there is news.
    pub(super) news: Notify,
    glance: Mutex<Glance>,
    missed: AtomicBool,
    /// The limits of a receiver that it hears of, one bit for each.
    told: AtomicU32,
    command: watch::Sender<Command>,
    closed: OnceLock<End>,
    senders: Mutex<Senders>,
}

/// A datagram whose sender is not let in. It was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotLetIn;

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
        let glance = Glance::new(connection.remote_address(), Instant::now());
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
            policy_first: AtomicBool::new(false),
            reaches_further: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            notes: Mailbox::new(MAX_NOTES),
            news: Notify::new(),
            glance: Mutex::new(glance),
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

    /// It is no home before its client has set its policy.
    pub(super) fn set_policy_first(&self) {
        self.policy_first.store(true, Ordering::Release);
    }

    /// Whether its client has yet to say something before it is a home: that it takes over, or its policy.
    pub(crate) fn is_standby(&self) -> bool {
        let waits = self.intent == Intent::Handover || self.policy_first.load(Ordering::Acquire);
        waits && !self.was_announced()
    }

    /// Whether it is a standby because it came to take over.
    pub(crate) fn takes_over(&self) -> bool {
        self.intent == Intent::Handover && self.is_standby()
    }

    /// Whether its policy may let strangers in, or did once: then relays that know it pass their datagrams on.
    pub(crate) fn reaches_further(&self) -> bool {
        self.reaches_further.load(Ordering::Acquire)
    }

    /// That is so from now. Gives whether it was not before.
    pub(crate) fn set_reaches_further(&self) -> bool {
        !self.reaches_further.swap(true, Ordering::AcqRel)
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
            Note::Sender { peer, .. } => self.senders().forget(&peer),
            // It knocks with its next datagram.
            Note::Knock(peer) => self.senders().not_heard(&peer),
            // Its next datagram is refused, too.
            Note::Unreached(_) => {}
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

    /// What is seen of it from outside. Nothing panics while it holds this lock.
    pub(super) fn glance(&self) -> MutexGuard<'_, Glance> {
        self.glance.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Sends datagrams of `sender` to its client, if it is let in; a stranger is of another group. What is not is counted.
    pub(crate) fn deliver<'p>(
        &self,
        sender: PeerId,
        stranger: bool,
        payloads: impl Iterator<Item = &'p [u8]>,
        comes: Comes,
        metrics: &Metrics,
    ) -> Result<(), NotLetIn> {
        // Asked for itself: nothing else is done under that lock.
        let judged = self.senders().judge(sender, stranger);
        let known = match judged {
            Judged::Admitted(alias) => alias,
            Judged::New => {
                self.note(Note::Sender { peer: sender, stranger });
                None
            }
            Judged::Refused(why) => {
                metrics.dropped(why, payloads.count());
                return Err(NotLetIn);
            }
            Judged::Knocks => {
                self.note(Note::Knock(sender));
                metrics.dropped(Dropped::Policy, payloads.count());
                return Err(NotLetIn);
            }
        };
        let header = match known {
            Some(alias) => Label::Alias(alias),
            None => Label::Sender(sender.prefix()),
        };
        let outgoing = Outgoing { sender, header, comes };
        let (connection, way) = (&self.connection, Direction::Out);
        self.egress.send(connection, outgoing, payloads, way, metrics, |limited| {
            metrics.limited(limited.kind);
            if !self.set_told(limited.kind, true) {
                self.note(Note::Limited(limited));
            }
        });
        Ok(())
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
        self.senders().named(&peer, alias);
    }

    /// Whether the relay of a sender that was not let in is to be told so now.
    pub(crate) fn may_be_told(&self, sender: PeerId) -> bool {
        self.senders().may_be_told(sender)
    }

    /// Lets these in from now, of those whom no rule names. Gives those who were let in and are no more.
    pub(super) fn set_mode(&self, mode: PolicyMode, now: Instant) -> Result<Vec<PeerId>, TooOften> {
        self.senders().set_mode(mode, now)
    }

    /// Does what a rule says. Gives those who were let in and are no more.
    pub(super) fn rule(&self, rule: &Rule) -> Result<Vec<PeerId>, TooManyNames> {
        self.senders().rule(rule)
    }

    /// Whether its policy may let strangers in.
    pub(super) fn admits_strangers(&self) -> bool {
        self.senders().admits_strangers()
    }

    /// Nothing panics while it holds this lock.
    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
