//! A bounded queue of datagrams in front of one connection.
//!
//! quinn writes DATAGRAM frames before STREAM frames in every packet, whatever the stream's priority, so a flood of datagrams
//! can keep the control stream waiting for seconds. Hence datagrams wait here, not in quinn: it gets at most
//! [`HANDED_OVER`] bytes at a time ([`crate::transport`] sets that), and nothing while control bytes wait to be sent ([`Hold`]).
//! While nothing waits and quinn has room, a datagram does not pass the queue at all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_protocol::datagram::HANDED_OVER;
use baton_protocol::detour::LONGEST;
use baton_protocol::hold::{self, Hold, Wire};
use bytes::Bytes;
use quinn::{Connection, SendDatagramError};
use tokio::sync::Notify;

use crate::detour::Detours;
use crate::metrics::{Direction, Dropped, Metrics};

/// Bytes that a queue may hold. More only adds delay.
const LIMIT: usize = 256 * 1024;

/// Datagrams that a queue may hold: tiny ones are dear too.
const LIMIT_COUNT: usize = 1024;

/// Whether control bytes are guarded against datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Guard {
    #[default]
    On,
    /// Datagrams go to quinn as they come: what a relay would do that does not know better. Only for the test that shows it.
    Off,
}

/// Datagrams on their way to one connection.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    queue: Mutex<Queue>,
    filled: Notify,
    guard: Guard,
    /// The other end takes streams with what does not fit its path.
    takes_streams: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Queued>,
    bytes: usize,
    hold: Hold,
    /// One was taken out, and is not handed over yet.
    busy: bool,
    /// Nobody hands anything over any more.
    closed: bool,
    /// The path took the longest datagrams when it was asked last.
    is_wide: bool,
}

#[derive(Debug)]
struct Queued {
    datagram: Bytes,
    /// How many bytes of it a peer sent; `None` if it is the relay's own.
    payload: Option<usize>,
}

impl Queue {
    /// Whether a datagram may go at once: there is none before it, and nothing holds it back.
    fn is_open(&self) -> bool {
        self.datagrams.is_empty() && !self.busy && !self.closed && !self.hold.may_hold()
    }

    /// Whether a datagram of this length fits the path. Of a wide one that is not asked, until a datagram turns out not to.
    fn fits(&mut self, connection: &Connection, length: usize) -> bool {
        if self.is_wide {
            return true;
        }
        let room = connection.max_datagram_size().unwrap_or(0);
        self.is_wide = room >= LONGEST;
        length <= room
    }
}

impl Egress {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, ..Self::default() }
    }

    /// The other end takes streams with what does not fit its path.
    pub(crate) fn take_streams(&self) {
        self.takes_streams.store(true, Ordering::Relaxed);
    }

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
        let mut queue = self.lock();
        if queue.is_open()
            && connection.datagram_send_buffer_space() >= datagram.len()
            && queue.fits(connection, datagram.len())
        {
            // Under the lock: whoever comes next must not overtake.
            match connection.send_datagram(datagram) {
                Ok(()) => metrics.passed(way, payload),
                Err(SendDatagramError::TooLarge) => {
                    queue.is_wide = false;
                    metrics.dropped(Dropped::TooLarge, 1);
                }
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

    /// Control bytes are about to be written: datagrams wait until they are on the wire.
    pub(crate) fn control_written(&self, connection: &Connection) {
        self.lock().hold.written(wire(connection), Instant::now());
    }

    /// Hands datagrams to `connection` until it ends, and counts them then: what waits may still be dropped.
    pub(crate) async fn run(&self, connection: &Connection, way: Direction, metrics: &Metrics) {
        let mut detours = Detours::default();
        loop {
            let Some(Queued { datagram, payload }) = self.pop() else {
                self.filled.notified().await;
                continue;
            };
            if self.guard == Guard::Off {
                if connection.send_datagram(datagram).is_ok() {
                    payload.iter().for_each(|payload| metrics.passed(way, *payload));
                }
                continue;
            }
            if !self.lock().fits(connection, datagram.len()) {
                match payload.filter(|_| self.takes_streams.load(Ordering::Relaxed)) {
                    Some(payload) => match detours.send(connection, datagram).await {
                        Ok(()) => {
                            metrics.passed(way, payload);
                            metrics.went_by_detour();
                        }
                        Err(_) => metrics.dropped(Dropped::NoStream, 1),
                    },
                    None => metrics.dropped(Dropped::TooLarge, 1),
                }
                continue;
            }
            while self.holds_back(datagram.len(), connection) {
                tokio::time::sleep(hold::STEP).await;
            }
            match connection.send_datagram_wait(datagram).await {
                Ok(()) => payload.iter().for_each(|payload| metrics.passed(way, *payload)),
                Err(SendDatagramError::TooLarge) => {
                    self.lock().is_wide = false;
                    metrics.dropped(Dropped::TooLarge, 1);
                }
                Err(_) => return metrics.dropped(Dropped::Ended, 1),
            }
        }
    }

    /// Whether one that was taken out waits for control bytes.
    fn holds_back(&self, length: usize, connection: &Connection) -> bool {
        let mut queue = self.lock();
        // Mostly nothing is written for minutes, and then this is all there is to do.
        queue.hold.may_hold() && queue.hold.holds_back(length, wire(connection), Instant::now())
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

/// How it stands with quinn.
fn wire(connection: &Connection) -> Wire {
    let stats = connection.stats();
    Wire {
        stream_frames: stats.frame_tx.stream,
        lost: stats.path.lost_packets,
        is_empty: connection.datagram_send_buffer_space() >= HANDED_OVER,
        rtt: stats.path.rtt,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn nothing_overtakes_what_waits_or_is_being_handed_over() {
        let egress = Egress::default();
        let is_open = || egress.lock().is_open();
        assert!(is_open());
        egress.push(Bytes::from_static(b"abc"), Some(3));
        assert!(!is_open(), "one waits");
        assert!(egress.pop().is_some());
        assert!(!is_open(), "it is being handed over");
        assert!(egress.pop().is_none());
        assert!(is_open());
        let wire = Wire { stream_frames: 0, lost: 0, is_empty: true, rtt: Duration::ZERO };
        egress.lock().hold.written(wire, Instant::now());
        assert!(!is_open(), "control bytes are first");
        let wire = Wire { stream_frames: 1, ..wire };
        assert!(!egress.lock().hold.holds(wire, Instant::now()));
        assert!(is_open(), "they have arrived");
        egress.close();
        assert!(!is_open(), "nobody is there");
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
