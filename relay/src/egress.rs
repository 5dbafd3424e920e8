//! A bounded queue of datagrams in front of one connection.
//!
//! quinn writes DATAGRAM frames before STREAM frames in every packet, whatever the stream's priority, so a flood of datagrams
//! can keep the control stream waiting for seconds. Hence datagrams wait here, not in quinn: it gets at most
//! [`HANDED_OVER`] bytes at a time ([`crate::transport`] sets that), and nothing for one round trip after control bytes were
//! written. Where control bytes never end, it gets [`HANDED_OVER`] bytes each round trip all the same. While nothing waits and
//! quinn has room, a datagram does not pass the queue at all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_protocol::datagram::HANDED_OVER;
use bytes::Bytes;
use quinn::{Connection, SendDatagramError};
use tokio::sync::Notify;

use crate::metrics::{Direction, Dropped, Metrics};

/// Bytes that a queue may hold. More only adds delay.
const LIMIT: usize = 256 * 1024;

/// Datagrams that a queue may hold: tiny ones are dear too.
const LIMIT_COUNT: usize = 1024;

/// The longest time that datagrams wait for control bytes.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Datagrams on their way to one connection.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Queued>,
    bytes: usize,
    pacer: Pacer,
    /// One was taken out, and is not handed over yet.
    busy: bool,
    /// Nobody hands anything over any more.
    closed: bool,
}

#[derive(Debug)]
struct Queued {
    datagram: Bytes,
    /// How many bytes of it a peer sent; `None` if it is the relay's own.
    payload: Option<usize>,
}

/// Decides how long datagrams wait for control bytes.
#[derive(Debug, Default)]
struct Pacer {
    /// When control bytes were written last.
    control_at: Option<Instant>,
    /// Bytes of datagrams that need not wait, because others have.
    credit: usize,
}

impl Pacer {
    /// Whether control bytes were written so lately that datagrams may have to wait.
    fn may_hold_back(&self, now: Instant) -> bool {
        self.control_at.is_some_and(|at| now.saturating_duration_since(at) < MAX_PAUSE)
    }

    /// How long a datagram of this length waits. After the wait it goes, and with it as many others as quinn takes at a time:
    /// a steady trickle of control bytes must not throttle datagrams to one per round trip.
    fn wait(&mut self, length: usize, rtt: Duration, now: Instant) -> Option<Duration> {
        if let Some(left) = self.credit.checked_sub(length) {
            self.credit = left;
            return None;
        }
        self.credit = 0;
        let until = self.control_at? + rtt.min(MAX_PAUSE);
        let wait = until.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        self.credit = HANDED_OVER.saturating_sub(length);
        Some(wait)
    }
}

impl Queue {
    /// Whether a datagram may go at once: there is none before it, and nothing holds it back.
    fn is_open(&self, now: Instant) -> bool {
        self.datagrams.is_empty() && !self.busy && !self.closed && !self.pacer.may_hold_back(now)
    }
}

impl Egress {
    /// Sends a datagram with so much payload of a peer: at once if it can, because another task to wake is dear, or by the
    /// queue. What is dropped is counted.
    pub(crate) fn send(
        &self,
        connection: &Connection,
        datagram: Bytes,
        payload: usize,
        way: Direction,
        metrics: &Metrics,
    ) {
        let queue = self.lock();
        if queue.is_open(Instant::now())
            && connection.datagram_send_buffer_space() >= datagram.len()
        {
            // Under the lock: whoever comes next must not overtake.
            match connection.send_datagram(datagram) {
                Ok(()) => metrics.passed(way, payload),
                Err(SendDatagramError::TooLarge) => metrics.dropped(Dropped::TooLarge, 1),
                Err(_) => metrics.dropped(Dropped::Ended, 1),
            }
        } else {
            drop(queue);
            metrics.dropped(Dropped::QueueFull, self.push(datagram, Some(payload)));
        }
    }

    /// Queues a datagram with so much payload of a peer. When there is no room the oldest ones are dropped; gives how many.
    pub(crate) fn push(&self, datagram: Bytes, payload: Option<usize>) -> usize {
        let mut queue = self.lock();
        if queue.closed {
            return 1;
        }
        queue.bytes += datagram.len();
        queue.datagrams.push_back(Queued { datagram, payload });
        let mut dropped = 0;
        while queue.bytes > LIMIT || queue.datagrams.len() > LIMIT_COUNT {
            let oldest = queue.datagrams.pop_front().map_or(0, |oldest| oldest.datagram.len());
            queue.bytes -= oldest;
            dropped += 1;
        }
        drop(queue);
        self.filled.notify_one();
        dropped
    }

    /// The connection has ended: what is left is dropped, and whatever comes. Gives how many are left.
    pub(crate) fn close(&self) -> usize {
        let mut queue = self.lock();
        queue.closed = true;
        queue.bytes = 0;
        std::mem::take(&mut queue.datagrams).len()
    }

    /// Control bytes were written: datagrams wait until they are on the wire.
    pub(crate) fn control_written(&self) {
        self.lock().pacer.control_at = Some(Instant::now());
    }

    /// Hands datagrams to `connection` until it ends, and counts them then: what waits may still be dropped.
    pub(crate) async fn run(&self, connection: &Connection, way: Direction, metrics: &Metrics) {
        loop {
            let Some(Queued { datagram, payload }) = self.pop() else {
                self.filled.notified().await;
                continue;
            };
            if let Some(wait) = self.wait(datagram.len(), connection) {
                tokio::time::sleep(wait).await;
            }
            match connection.send_datagram_wait(datagram).await {
                Ok(()) => payload.iter().for_each(|payload| metrics.passed(way, *payload)),
                Err(SendDatagramError::TooLarge) => metrics.dropped(Dropped::TooLarge, 1),
                Err(_) => return metrics.dropped(Dropped::Ended, 1),
            }
        }
    }

    /// How long the one that was taken out waits for control bytes.
    fn wait(&self, length: usize, connection: &Connection) -> Option<Duration> {
        let (mut queue, now) = (self.lock(), Instant::now());
        if !queue.pacer.may_hold_back(now) {
            // As mostly: then nobody needs to ask for the round trip, which has a lock of its own.
            queue.pacer.credit = 0;
            return None;
        }
        queue.pacer.wait(length, connection.rtt(), now)
    }

    /// Takes the first one out. The one before it has been handed over.
    fn pop(&self) -> Option<Queued> {
        let mut queue = self.lock();
        let queued = queue.datagrams.pop_front();
        queue.busy = queued.is_some();
        let queued = queued?;
        queue.bytes -= queued.datagram.len();
        Some(queued)
    }

    /// Nothing panics while it holds this lock; and a queue is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_datagrams_are_dropped_by_bytes_and_by_count() {
        let egress = Egress::default();
        let large = Bytes::from(vec![0; 64 * 1024]);
        let dropped: usize = (0..6).map(|_| egress.push(large.clone(), None)).sum();
        assert_eq!(dropped, 2);
        let egress = Egress::default();
        let dropped: usize = (0..LIMIT_COUNT as u32 + 3)
            .map(|n| egress.push(Bytes::copy_from_slice(&n.to_be_bytes()), None))
            .sum();
        assert_eq!(dropped, 3);
        assert_eq!(
            egress.pop().unwrap().datagram,
            3_u32.to_be_bytes().as_slice(),
            "those that came first are gone"
        );
    }

    const RTT: Duration = Duration::from_millis(40);

    #[test]
    fn a_datagram_waits_for_what_is_left_of_a_round_trip_after_control_bytes() {
        let now = Instant::now();
        let wait = |since: Duration| {
            let mut pacer = Pacer { control_at: Some(now), credit: 0 };
            pacer.wait(100, RTT, now + since)
        };
        assert_eq!(Pacer::default().wait(100, RTT, now), None, "there never were any");
        assert_eq!(wait(Duration::ZERO), Some(RTT));
        assert_eq!(wait(RTT / 4), Some(RTT * 3 / 4));
        assert_eq!(wait(RTT), None, "they are on the wire");
        let mut slow = Pacer { control_at: Some(now), credit: 0 };
        assert_eq!(slow.wait(100, Duration::from_secs(9), now), Some(MAX_PAUSE));
    }

    #[test]
    fn a_trickle_of_control_bytes_leaves_room_for_datagrams() {
        let mut now = Instant::now();
        let (start, mut pacer, mut passed) = (now, Pacer::default(), 0);
        while now < start + RTT * 10 {
            // Control bytes are written all the time.
            pacer.control_at = Some(now);
            now += pacer.wait(1000, RTT, now).unwrap_or_default();
            passed += 1000;
        }
        assert!(passed >= 9 * (HANDED_OVER - 1000), "{passed} bytes in ten round trips");
        assert!(passed <= 11 * HANDED_OVER, "{passed} bytes in ten round trips");
    }

    #[test]
    fn nothing_overtakes_what_waits_or_is_being_handed_over() {
        let egress = Egress::default();
        let is_open = || egress.lock().is_open(Instant::now());
        assert!(is_open());
        egress.push(Bytes::from_static(b"abc"), Some(3));
        assert!(!is_open(), "one waits");
        assert!(egress.pop().is_some());
        assert!(!is_open(), "it is being handed over");
        assert!(egress.pop().is_none());
        assert!(is_open());
        egress.control_written();
        assert!(!is_open(), "control bytes are first");
        assert!(egress.lock().is_open(Instant::now() + MAX_PAUSE));
        egress.close();
        assert!(!egress.lock().is_open(Instant::now() + MAX_PAUSE), "nobody is there");
    }

    #[test]
    fn a_queue_that_is_empty_counts_no_bytes() {
        let egress = Egress::default();
        egress.push(Bytes::from_static(b"abc"), Some(3));
        egress.pop();
        assert_eq!(egress.lock().bytes, 0);
    }

    #[test]
    fn what_is_left_at_the_end_is_counted_and_nothing_is_taken_any_more() {
        let egress = Egress::default();
        for _ in 0..3 {
            egress.push(Bytes::from_static(b"abc"), Some(3));
        }
        assert_eq!(egress.close(), 3);
        assert_eq!(egress.push(Bytes::from_static(b"abc"), Some(3)), 1);
        assert!(egress.pop().is_none());
    }
}
