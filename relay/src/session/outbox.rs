//! Control frames on their way to one client: bounded, and nearly nothing while there are none, as nearly always.

use baton_protocol::frame::Frame;
use tokio::sync::Notify;

use crate::mailbox::Mailbox;

/// Frames that may wait for a client.
const LIMIT: usize = 512;

/// Of those, the ones that are kept for what a client did not ask for, like GOAWAY. When only they are left nothing more is
/// read from the client, and no news is told to it; if that lasts it is closed.
const RESERVED: usize = 64;

/// From a session's state machine to the writer of its control stream.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: Mailbox<Frame>,
    taken: Notify,
}

/// Not even the reserve has room: the client reads nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    pub(super) fn new() -> Self {
        Self { frames: Mailbox::new(LIMIT), taken: Notify::new() }
    }

    pub(super) fn put(&self, frame: Frame) -> Result<(), Full> {
        if self.frames.put(frame) { Ok(()) } else { Err(Full) }
    }

    /// Whether the client may ask for more, and be told news.
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < LIMIT - RESERVED
    }

    /// Waits until there [is](Self::has_room) room. Only one may wait.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.taken.notified().await;
        }
    }

    /// The next frame; waits for it. Only one may wait. Cancel-safe.
    pub(super) async fn next(&self) -> Frame {
        let frame = self.frames.next().await;
        self.taken.notify_one();
        frame
    }
}

#[cfg(test)]
mod tests {
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
        (0..=LIMIT - RESERVED).try_for_each(|_| outbox.put(Frame::MovedOk)).unwrap();
        let mut room = Box::pin(outbox.room());
        assert_eq!((&mut room).now_or_never(), None);
        assert_eq!(take(), Frame::MovedOk);
        assert_eq!((&mut room).now_or_never(), None, "one less is not enough");
        assert_eq!(take(), Frame::MovedOk);
        assert_eq!(room.now_or_never(), Some(()));
        assert_eq!(outbox.room().now_or_never(), Some(()), "nor is it waited for when it is there");
    }
}
