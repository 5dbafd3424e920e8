//! The readers and writers of one session.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_protocol::attachment::Slot;
use baton_protocol::datagram::{Datagram, NONE_HANDED_OVER, echo_reply};
use baton_protocol::frame::{Decoder, Frame, FrameError};
use baton_protocol::hold::{self, Hold, Wire};
use baton_protocol::id::{PeerId, PeerPrefix};
use bytes::Bytes;
use quinn::{RecvStream, SendDatagramError, SendStream};
use tokio::sync::mpsc;

use super::Input;
use super::detour::Detours;
use super::queue::{SendQueue, lock};
use crate::inbound::Inbound;
use crate::paths::{News, PathLink, padded};

/// How much of the control stream is read at a time.
const CHUNK: usize = 16 * 1024;

/// Datagrams of senders that have no name yet: SENDER is on its way.
const NAMELESS: usize = 32;

/// Holds datagrams back while control bytes are unsent: see [`hold`].
#[derive(Debug)]
pub(super) struct Gate {
    connection: quinn::Connection,
    hold: Mutex<Hold>,
    may_hold: AtomicBool,
}

impl Gate {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        Self { connection, hold: Mutex::default(), may_hold: AtomicBool::new(false) }
    }

    fn shut(&self) {
        let wire = self.wire();
        let mut hold = lock(&self.hold);
        hold.written(wire, Instant::now());
        self.may_hold.store(true, Ordering::Release);
    }

    /// Waits until control bytes have left, or for so long.
    pub(super) async fn left(&self, patience: Duration) {
        let since = Instant::now();
        while self.asks(|hold, wire| hold.holds(wire, Instant::now())) && since.elapsed() < patience
        {
            tokio::time::sleep(hold::STEP).await;
        }
    }

    async fn pass(&self, length: usize) {
        while self.asks(|hold, wire| hold.holds_back(length, wire, Instant::now())) {
            tokio::time::sleep(hold::STEP).await;
        }
    }

    fn asks(&self, holds: impl FnOnce(&mut Hold, Wire) -> bool) -> bool {
        // Mostly nothing is written for minutes, and then this is all there is to do.
        if !self.may_hold.load(Ordering::Acquire) {
            return false;
        }
        let wire = self.wire();
        let mut hold = lock(&self.hold);
        let holds = holds(&mut hold, wire);
        // Under the lock: what is written meanwhile must not be forgotten.
        self.may_hold.store(hold.may_hold(), Ordering::Release);
        holds
    }

    fn wire(&self) -> Wire {
        let stats = self.connection.stats();
        Wire {
            stream_frames: stats.frame_tx.stream,
            lost: stats.path.lost_packets,
            is_empty: self.connection.datagram_send_buffer_space() >= NONE_HANDED_OVER,
            rtt: stats.path.rtt,
        }
    }
}

pub(super) async fn write_control(
    mut send: SendStream,
    mut writes: mpsc::Receiver<Bytes>,
    gate: Arc<Gate>,
) {
    while let Some(bytes) = writes.recv().await {
        gate.shut();
        if send.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The stream stays open: its end would mean that the session is over, which only a close may say.
    std::future::pending::<()>().await;
}

pub(super) async fn write_datagrams(
    connection: quinn::Connection,
    queue: Arc<SendQueue>,
    gate: Arc<Gate>,
    mut detours: Detours,
) {
    while let Some(datagram) = queue.pop().await {
        if !detours.fits(&connection, datagram.len()) {
            if detours.send(&connection, datagram).await.is_err() {
                queue.lost();
                tracing::debug!("a datagram is larger than the path to the relay takes");
            }
            continue;
        }
        gate.pass(datagram.len()).await;
        match connection.send_datagram_wait(datagram).await {
            Ok(()) => {}
            // Lost, as on any network: the path is narrower than it was.
            Err(SendDatagramError::TooLarge) => {
                detours.narrowed();
                queue.lost();
            }
            Err(_) => return,
        }
    }
}

pub(super) async fn read_datagrams(
    connection: quinn::Connection,
    senders: Arc<Senders>,
    paths: Arc<PathLink>,
    slot: Slot,
    inputs: mpsc::Sender<(Slot, Input)>,
) {
    let mut last_echo = None;
    while let Ok(bytes) = connection.read_datagram().await {
        match Datagram::decode(&bytes) {
            Ok(Datagram::Aliased { alias, payload }) => senders.aliased(alias, payload),
            Ok(Datagram::Long { sender, payload }) => senders.long(sender, payload),
            // It is answered by the confirmation.
            Ok(Datagram::Echo { nonce }) if paths.is_confirming() => {
                last_echo = Some(nonce);
                paths.tell(News::Echo(nonce));
            }
            // At once and past the queue: the relay decides by it whether a path works.
            Ok(Datagram::Echo { nonce }) => {
                let _ = connection.send_datagram(echo_reply(nonce, padded(&connection)));
                // It is repeated until answered; another nonce is another address.
                if last_echo.replace(nonce) != Some(nonce) {
                    paths.tell(News::SeenElsewhere);
                    let _ = inputs.send((slot, Input::Migrated)).await;
                }
            }
            Ok(Datagram::EchoReply { nonce }) => paths.tell(News::EchoReply(nonce)),
            Ok(Datagram::PathConfirmed { attempt }) => paths.tell(News::Confirmed(attempt)),
            Ok(Datagram::PathConfirm { .. }) => tracing::debug!("PATH_CONFIRM of a relay"),
            Err(error) => tracing::debug!(%error, "a datagram was dropped"),
        }
    }
}

/// Reads frames until the stream breaks the protocol, and says how. If the connection ends instead, this waits: whoever
/// watches the connection knows better.
pub(super) async fn read_control(
    mut receive: RecvStream,
    mut decoder: Decoder,
    control: mpsc::Sender<Bytes>,
    senders: Arc<Senders>,
    paths: Arc<PathLink>,
    slot: Slot,
    inputs: mpsc::Sender<(Slot, Input)>,
) -> ControlBroken {
    loop {
        loop {
            match decoder.next_frame() {
                // At once, as SENDER, which it comes before: nothing may be taken for a friend's meanwhile.
                Ok(Some(Frame::Stranger { peer })) => senders.stranger(slot, peer),
                Ok(Some(Frame::Sender { alias, peer })) => {
                    senders.name(alias, peer);
                    // If it cannot be written now, the long form goes on: it costs bytes, nothing else.
                    let _ = control.try_send(Frame::SenderOk { alias }.encode());
                }
                Ok(Some(Frame::Probes { ids })) => paths.tell(News::Probes(ids)),
                Ok(Some(frame)) => {
                    if inputs.send((slot, Input::Frame(frame))).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                Ok(None) => break,
                Err(error) => return ControlBroken::Frame(error),
            }
        }
        match receive.read_chunk(CHUNK, true).await {
            Ok(Some(chunk)) => decoder.push(&chunk.bytes),
            Ok(None) => return ControlBroken::Finished,
            Err(_) => std::future::pending::<()>().await,
        }
    }
}

/// How a control stream broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlBroken {
    #[error(transparent)]
    Frame(FrameError),
    #[error("the control stream ended before the connection")]
    Finished,
}

/// Who the senders of one session are: by alias once SENDER has come.
#[derive(Debug)]
pub(super) struct Senders {
    inbound: Arc<Inbound>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_alias: BTreeMap<u64, PeerId>,
    by_prefix: BTreeMap<PeerPrefix, PeerId>,
    nameless: Vec<(PeerPrefix, Bytes)>,
}

impl Senders {
    pub(super) fn new(inbound: Arc<Inbound>) -> Self {
        Self { inbound, known: Mutex::default() }
    }

    pub(super) fn aliased(&self, alias: u64, payload: Bytes) {
        // The relay uses an alias only after SENDER_OK, so an unknown one is no race but an error of its own.
        let peer = lock(&self.known).by_alias.get(&alias).copied();
        match peer {
            Some(peer) => self.inbound.deliver(peer, payload),
            None => tracing::debug!(alias, "a datagram of an unknown sender was dropped"),
        }
    }

    pub(super) fn long(&self, prefix: PeerPrefix, payload: Bytes) {
        let mut known = lock(&self.known);
        // Asked under the lock, or a name that comes now would find nothing that waits for it.
        let named = known.by_prefix.get(&prefix).copied();
        let Some(peer) = named.or_else(|| self.inbound.name(prefix)) else {
            if known.nameless.len() == NAMELESS {
                known.nameless.remove(0);
            }
            // A copy: the payload is a slice of all that was received with it.
            known.nameless.push((prefix, Bytes::copy_from_slice(&payload)));
            return;
        };
        drop(known);
        self.inbound.deliver(peer, payload);
    }

    fn stranger(&self, slot: Slot, peer: PeerId) {
        self.inbound.admission.add_stranger(slot, peer);
    }

    fn name(&self, alias: u64, peer: PeerId) {
        let mut known = lock(&self.known);
        known.by_alias.insert(alias, peer);
        known.by_prefix.insert(peer.prefix(), peer);
        self.inbound.add_name(peer);
        let waiting = std::mem::take(&mut known.nameless);
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(prefix, _)| *prefix == peer.prefix());
        known.nameless = rest;
        drop(known);
        for (_, payload) in ready {
            self.inbound.deliver(peer, payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &'static str) -> Bytes {
        Bytes::from([&[crate::inbound::OWN], text.as_bytes()].concat())
    }

    #[tokio::test]
    async fn what_comes_before_its_senders_name_is_held_and_then_delivered() {
        let inbound = Arc::new(Inbound::default());
        let senders = Senders::new(inbound.clone());
        let peer = PeerId::from_bytes([7; 32]);
        senders.long(peer.prefix(), raw("early"));
        senders.name(16, peer);
        senders.long(peer.prefix(), raw("long"));
        senders.aliased(16, raw("short"));
        senders.aliased(17, raw("of nobody"));
        for text in ["early", "long", "short"] {
            assert_eq!(inbound.datagram().await, (peer, Bytes::from(text)));
        }
        assert_eq!(inbound.waiting(), 0);
    }

    #[tokio::test]
    async fn a_sender_that_another_session_knew_is_known() {
        let inbound = Arc::new(Inbound::default());
        let peer = PeerId::from_bytes([7; 32]);
        Senders::new(inbound.clone()).name(16, peer);
        Senders::new(inbound.clone()).long(peer.prefix(), raw("at once"));
        assert_eq!(inbound.datagram().await, (peer, Bytes::from("at once")));
    }

    #[tokio::test]
    async fn where_strangers_are_let_in_each_session_says_who_is_one_before_anything_is_handed_on()
    {
        let inbound = Arc::new(Inbound::default());
        let (peer, slot) = (PeerId::from_bytes([7; 32]), slot());
        Senders::new(inbound.clone()).name(16, peer);
        let mut policy = baton_protocol::policy::Policy::new();
        policy.set_mode(baton_protocol::frame::PolicyMode::Any);
        inbound.set_policy(&policy);
        let senders = Senders::new(inbound.clone());
        senders.long(peer.prefix(), raw("early"));
        assert_eq!(inbound.waiting(), 0, "another session's word is not enough");
        senders.stranger(slot, peer);
        senders.name(16, peer);
        assert!(inbound.admission.is_stranger(&peer));
        senders.long(peer.prefix(), raw("long"));
        for text in ["early", "long"] {
            assert_eq!(inbound.datagram().await, (peer, Bytes::from(text)));
        }
    }

    #[tokio::test]
    async fn nothing_of_a_sender_that_is_blocked_is_handed_on_wherever_it_waits() {
        let inbound = Arc::new(Inbound::default());
        let [friend, blocked] = [7, 8].map(|number| PeerId::from_bytes([number; 32]));
        let senders = Senders::new(inbound.clone());
        senders.name(16, friend);
        senders.long(blocked.prefix(), raw("without a name"));
        for (alias, peer) in [(16, friend), (17, blocked)] {
            senders.name(alias, peer);
            senders.aliased(alias, raw("before"));
        }
        assert_eq!(inbound.waiting(), 3);
        let mut policy = baton_protocol::policy::Policy::new();
        policy.rule(baton_protocol::frame::RuleVerb::Block, &[blocked]).unwrap();
        inbound.set_policy(&policy);
        senders.aliased(17, raw("after"));
        senders.long(blocked.prefix(), raw("after"));
        assert_eq!((inbound.waiting(), inbound.dropped()), (1, 4));
        assert_eq!(inbound.datagram().await, (friend, Bytes::from("before")));
    }

    fn slot() -> Slot {
        use baton_protocol::attachment::{Attachment, Output, Timing};
        let mut attachment = Attachment::new(Timing::default(), 1, Instant::now());
        let Some(Output::Dial { slot, .. }) = attachment.poll_output() else { panic!("no dial") };
        slot
    }

    #[test]
    fn few_are_held_for_a_sender_without_a_name() {
        let senders = Senders::new(Arc::new(Inbound::default()));
        (0..1000).for_each(|_| senders.long(PeerPrefix::from_bytes([1; 16]), raw("x")));
        assert_eq!(lock(&senders.known).nameless.len(), NAMELESS);
    }
}
