//! What waits to be sent as datagrams on one session.
//!
//! Two lanes, served in turns: the owner's datagrams, of which the oldest is dropped when there are too many, and the packets
//! of inner connections, which are refused when there are too many, because QUIC would rather wait than lose them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::Notify;

/// Datagrams that wait, per lane. More would not be faster, only later (measured from 32 to 1024).
const LANE: usize = 128;

/// Who waits for room to send packets of inner connections. One for all sessions, since they come and go.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: Mutex<Vec<Waker>>,
    anyone: AtomicBool,
}

impl Room {
    pub(crate) fn wait(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.anyone.store(true, Ordering::Release);
    }

    /// There is room, or another reason to try again.
    pub(crate) fn wake(&self) {
        if self.anyone.swap(false, Ordering::AcqRel) {
            for waker in std::mem::take(&mut *lock(&self.waiting)) {
                waker.wake();
            }
        }
    }
}

/// The packets of inner connections have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Lanes {
    own: VecDeque<Bytes>,
    inner: VecDeque<Bytes>,
    inner_next: bool,
    closed: bool,
}

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct SendQueue {
    lanes: Mutex<Lanes>,
    filled: Notify,
    room: Arc<Room>,
    dropped: Arc<AtomicU64>,
}

impl SendQueue {
    /// A queue that counts what it drops in `dropped`.
    pub(crate) fn new(room: Arc<Room>, dropped: Arc<AtomicU64>) -> Self {
        Self { lanes: Mutex::default(), filled: Notify::new(), room, dropped }
    }

    /// Queues a datagram of the owner's.
    pub(crate) fn push(&self, datagram: Bytes) {
        {
            let mut lanes = lock(&self.lanes);
            if lanes.closed || lanes.own.len() == LANE {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            if lanes.closed {
                return;
            }
            if lanes.own.len() == LANE {
                lanes.own.pop_front();
            }
            lanes.own.push_back(datagram);
        }
        self.filled.notify_one();
    }

    /// Queues a packet of an inner connection.
    pub(crate) fn push_inner(&self, packet: Bytes) -> Result<(), Full> {
        {
            let mut lanes = lock(&self.lanes);
            if lanes.closed {
                // As if the network had lost it: whoever asks soon finds the next session.
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            if lanes.inner.len() == LANE {
                return Err(Full);
            }
            lanes.inner.push_back(packet);
        }
        self.filled.notify_one();
        Ok(())
    }

    /// One that was taken out could not be sent.
    pub(crate) fn lost(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn has_room(&self) -> bool {
        let lanes = lock(&self.lanes);
        lanes.closed || lanes.inner.len() < LANE
    }

    /// The next to send; waits for one. None once the queue is closed.
    pub(crate) async fn pop(&self) -> Option<Bytes> {
        loop {
            if let Some(next) = self.try_pop() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    fn try_pop(&self) -> Option<Option<Bytes>> {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Some(None);
        }
        let inner_first = lanes.inner_next;
        lanes.inner_next = !inner_first;
        let next = if inner_first { lanes.inner.pop_front() } else { lanes.own.pop_front() };
        let next = next
            .or_else(|| if inner_first { lanes.own.pop_front() } else { lanes.inner.pop_front() });
        let roomy = lanes.inner.len() <= LANE / 2;
        drop(lanes);
        // Half empty, so that a wake-up is worth its price.
        if roomy {
            self.room.wake();
        }
        next.map(Some)
    }

    /// Nothing more is sent here. What waits is dropped.
    pub(crate) fn close(&self) {
        {
            let mut lanes = lock(&self.lanes);
            lanes.closed = true;
            let lost = lanes.own.len() + lanes.inner.len();
            self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
            lanes.own.clear();
            lanes.inner.clear();
        }
        self.filled.notify_one();
        self.room.wake();
    }
}

/// No code that holds one of these locks can panic, and if it did, what it holds would still be whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (SendQueue, Arc<AtomicU64>) {
        let dropped = Arc::new(AtomicU64::new(0));
        (SendQueue::new(Arc::default(), dropped.clone()), dropped)
    }

    fn numbered(number: usize) -> Bytes {
        Bytes::from(number.to_string())
    }

    #[tokio::test]
    async fn the_oldest_of_the_owners_datagrams_is_dropped_and_counted() {
        let (queue, dropped) = queue();
        (0..LANE + 3).for_each(|number| queue.push(numbered(number)));
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        assert_eq!(queue.pop().await, Some(numbered(3)));
    }

    #[tokio::test]
    async fn inner_packets_are_refused_and_not_lost() {
        let (queue, dropped) = queue();
        (0..LANE).for_each(|number| assert_eq!(queue.push_inner(numbered(number)), Ok(())));
        assert_eq!(queue.push_inner(numbered(LANE)), Err(Full));
        assert!(!queue.has_room());
        for number in 0..LANE {
            assert_eq!(queue.pop().await, Some(numbered(number)));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_lanes_take_turns() {
        let (queue, _) = queue();
        queue.push(Bytes::from_static(b"a"));
        queue.push(Bytes::from_static(b"b"));
        queue.push_inner(Bytes::from_static(b"1")).unwrap();
        queue.push_inner(Bytes::from_static(b"2")).unwrap();
        let mut order = String::new();
        for _ in 0..4 {
            order.push_str(std::str::from_utf8(&queue.pop().await.unwrap()).unwrap());
        }
        assert_eq!(order, "a1b2");
    }

    #[tokio::test]
    async fn a_closed_queue_ends_its_reader_and_takes_nothing() {
        let (queue, dropped) = queue();
        queue.push(numbered(1));
        queue.close();
        assert_eq!(queue.pop().await, None);
        queue.push(numbered(2));
        assert_eq!(queue.push_inner(numbered(3)), Ok(()));
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }
}
