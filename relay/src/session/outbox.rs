//! Control frames on their way to one client: bounded, and nearly nothing while there are none, as nearly always.

use std::sync::atomic::{AtomicU32, Ordering};

use baton_protocol::frame::Frame;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::mailbox::Mailbox;

/// Frames that may wait for a client.
const LIMIT: usize = 512;

/// Of those, the ones that are kept for what a client did not ask for, like GOAWAY. When only they are left nothing more is
/// read from the client, and no news is told to it; if that lasts it is closed.
const RESERVED: usize = 64;

/// So many bytes are written at a time, or the one frame that is longer.
const IN_ONE_GO: usize = 2048;

/// From a session's state machine to the writer of its control stream.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: Mailbox<Frame>,
    taken: Notify,
    /// How many were taken by the writer so far, and how many of them it has written.
    begun: AtomicU32,
    written: AtomicU32,
}

/// Not even the reserve has room: the client reads nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    pub(super) fn new() -> Self {
        let (begun, written) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { frames: Mailbox::new(LIMIT), taken: Notify::new(), begun, written }
    }

    pub(super) fn put(&self, frame: Frame) -> Result<(), Full> {
        if self.frames.put(frame) { Ok(()) } else { Err(Full) }
    }

    /// Whether the client may ask for more, and be told news.
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < LIMIT - RESERVED
    }

    /// Whether some wait, or are being written.
    pub(super) fn is_busy(&self) -> bool {
        self.frames.len() > 0 || self.begun.load(Ordering::Relaxed) != self.written()
    }

    /// How many were written so far.
    pub(super) fn written(&self) -> u32 {
        self.written.load(Ordering::Relaxed)
    }

    /// What was taken last is written.
    pub(super) fn write(&self) {
        self.written.store(self.begun.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Waits until there [is](Self::has_room) room. Only one may wait.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.taken.notified().await;
        }
    }

    /// The next frames, as they are written; waits for one. Only one may wait. Cancel-safe.
    ///
    /// All that wait are written in one go, up to [`IN_ONE_GO`]: quinn holds each piece that it is given for itself until it is
    /// acknowledged, and what it costs is several times a small frame.
    pub(super) async fn next(&self) -> Bytes {
        let mut frame = self.frames.next().await;
        let mut bytes = BytesMut::new();
        loop {
            bytes.extend_from_slice(&frame.encode());
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.taken.notify_one();
            if bytes.len() >= IN_ONE_GO {
                return bytes.freeze();
            }
            match self.frames.pop() {
                Some(next) => frame = next,
                None => return bytes.freeze(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::frame::Token;
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_was_not_asked_for_has_room_when_answers_have_none() {
        let outbox = Outbox::new();
        let put = |count| (0..count).try_for_each(|_| outbox.put(Frame::MovedOk));
        assert_eq!(put(LIMIT - RESERVED - 1), Ok(()));
        assert!(outbox.has_room());
        assert_eq!(put(1), Ok(()));
        assert!(!outbox.has_room());
        assert_eq!(put(RESERVED), Ok(()));
        assert_eq!(put(1), Err(Full));
    }

    #[test]
    fn whoever_waits_for_room_goes_on_when_there_is_some_and_not_before() {
        let outbox = Outbox::new();
        let take = || outbox.next().now_or_never().expect("there are frames");
        // One of these is written at a time.
        let long = Frame::Renew { token: Token(vec![0; IN_ONE_GO].into()) };
        (0..=LIMIT - RESERVED).try_for_each(|_| outbox.put(long.clone())).unwrap();
        let mut room = Box::pin(outbox.room());
        assert_eq!((&mut room).now_or_never(), None);
        assert_eq!(take(), long.encode());
        assert_eq!((&mut room).now_or_never(), None, "one less is not enough");
        assert_eq!(take(), long.encode());
        assert_eq!(room.now_or_never(), Some(()));
        assert_eq!(outbox.room().now_or_never(), Some(()), "nor is it waited for when it is there");
    }

    #[test]
    fn small_frames_are_written_in_one_go_and_in_their_order() {
        let outbox = Outbox::new();
        let frame = |alias| Frame::Opened { alias };
        (16..400).try_for_each(|alias| outbox.put(frame(alias))).unwrap();
        let all: Vec<_> = (16..400).flat_map(|alias| frame(alias).encode()).collect();
        assert_eq!(outbox.next().now_or_never().unwrap(), all);
        assert_eq!(outbox.next().now_or_never(), None);
        assert_eq!((outbox.written(), outbox.is_busy()), (0, true));
        outbox.write();
        assert_eq!((outbox.written(), outbox.is_busy()), (400 - 16, false));
    }
}
