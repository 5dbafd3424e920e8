//! A bounded queue of datagrams in front of one connection.
//!
//! quinn writes DATAGRAM frames before STREAM frames in every packet, whatever the stream's priority, so a flood of datagrams
//! can keep the control stream waiting for seconds. Hence datagrams wait here, not in quinn: it gets at most
//! [`HANDED_OVER`] bytes at a time ([`crate::transport`] sets that), and nothing while control bytes wait to be sent ([`Hold`]).
//! While nothing waits and quinn has room, a datagram does not pass the queue at all. Those that wait have their turns by sender:
//! see [`fair`].
//!
//! [`HANDED_OVER`]: baton_protocol::datagram::HANDED_OVER

mod block;
mod budget;
mod fair;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_protocol::datagram::{Header, NONE_HANDED_OVER, OVERHEAD};
use baton_protocol::detour::LONGEST;
use baton_protocol::frame::{LimitKind, Limited};
use baton_protocol::hold::{self, Hold, Wire};
use baton_protocol::id::PeerId;
use bytes::Bytes;
use quinn::{Connection, SendDatagramError};
use tokio::sync::Notify;

use self::block::Block;
pub(crate) use self::budget::Budget;
use self::fair::FairQueue;
use crate::arrivals::Comes;
use crate::detour::Detours;
use crate::lines::Lines;
use crate::metrics::{Direction, Dropped, Metrics, Tally};
use crate::rates::{Meter, Throughput};
use crate::turn::{After, Turn};

const RECEIVER: [LimitKind; 2] = [LimitKind::ReceiverDatagrams, LimitKind::ReceiverBytes];

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
    /// What it shares with others; a link to a sibling shares nothing.
    budget: Option<Arc<Budget>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By sender; `None` is the relay itself.
    datagrams: FairQueue<Option<PeerId>, Queued>,
    hold: Hold,
    limit: Throughput,
    meter: Meter,
    /// One was taken out, and is not handed over yet.
    busy: bool,
    /// So many bytes have room at quinn's at least: nobody else fills it, and what leaves makes more.
    room: usize,
    /// Nobody hands anything over any more.
    closed: bool,
    /// The path took the longest datagrams when it was asked last.
    is_wide: bool,
    /// Where those are that go to quinn at once.
    block: Block,
}

/// What a peer's datagrams have in common that go to one connection.
pub(crate) struct Outgoing<H> {
    pub(crate) sender: PeerId,
    pub(crate) header: H,
    /// How the first came; the others came close behind.
    pub(crate) comes: Comes,
}

/// The connection has ended.
struct Ended;

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

    /// Whether quinn has room for a datagram of this length. It is asked only if it is not known to.
    fn has_room(&mut self, connection: &Connection, length: usize) -> bool {
        if self.room < length {
            self.room = connection.datagram_send_buffer_space();
        }
        length <= self.room
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
    pub(crate) fn new(guard: Guard, budget: Arc<Budget>) -> Self {
        let mut egress = Self::default();
        (egress.guard, egress.budget) = (guard, Some(budget));
        egress
    }

    /// The other end takes streams with what does not fit its path.
    pub(crate) fn take_streams(&self) {
        self.takes_streams.store(true, Ordering::Relaxed);
    }

    /// From now on no more than this is taken of what peers send. Memory that was not used since this was called last is given back.
    pub(crate) fn set_limit(&self, limit: Throughput, now: Instant) {
        let mut queue = self.lock();
        queue.block.tidy();
        if queue.limit != limit {
            queue.limit = limit;
            queue.meter.set(limit, now);
        }
    }

    /// Sends a peer's datagrams: at once if it can, because another task to wake is dear, or by the queue. What is dropped for want of
    /// room is counted. What is beyond the limit is told to `beyond`, under the lock.
    pub(crate) fn send<'p>(
        &self,
        connection: &Connection,
        outgoing: Outgoing<impl Header>,
        payloads: impl Iterator<Item = &'p [u8]>,
        way: Direction,
        metrics: &Metrics,
        mut beyond: impl FnMut(Limited),
    ) {
        let Outgoing { sender, header, mut comes } = outgoing;
        let header = &header;
        let (mut passed, mut dropped, mut waits) = (Tally::default(), 0, false);
        let mut queue = self.lock();
        for payload in payloads {
            let comes = std::mem::replace(&mut comes, Comes::CloseBehind);
            // Mostly there is none, and the time need not be asked for.
            if !queue.meter.is_off()
                && let Err(quantity) = queue.meter.take(payload.len(), Instant::now())
            {
                beyond(queue.limit.met(quantity, RECEIVER));
                continue;
            }
            let length = header.length() + payload.len();
            if !queue.is_open()
                || !queue.has_room(connection, length)
                || !queue.fits(connection, length)
            {
                let datagram = header.before(payload);
                dropped += self.put(&mut queue, Some(sender), datagram, Some(payload.len()));
                waits = true;
                continue;
            }
            queue.room = queue.room.saturating_sub(length + OVERHEAD);
            let datagram = match comes {
                Comes::Alone => header.before(payload),
                Comes::CloseBehind => queue.block.write(header, payload),
            };
            // Under the lock: whoever comes next must not overtake.
            match connection.send_datagram(datagram) {
                Ok(()) => passed.add(payload.len()),
                Err(SendDatagramError::TooLarge) => {
                    queue.is_wide = false;
                    metrics.dropped(Dropped::TooLarge, 1);
                }
                Err(_) => metrics.dropped(Dropped::Ended, 1),
            }
        }
        drop(queue);
        if waits {
            self.filled.notify_one();
        }
        metrics.passed(way, passed);
        metrics.dropped(Dropped::QueueFull, dropped);
    }

    /// Queues a datagram of the relay's own. Gives how many were dropped for it.
    pub(crate) fn push_own(&self, datagram: Bytes) -> usize {
        self.push(None, datagram, None)
    }

    /// Queues a datagram with so much payload of a peer. When there is no room others are dropped; gives how many.
    fn push(&self, sender: Option<PeerId>, datagram: Bytes, payload: Option<usize>) -> usize {
        let dropped = self.put(&mut self.lock(), sender, datagram, payload);
        self.filled.notify_one();
        dropped
    }

    /// The same, without waking who hands it over.
    fn put(
        &self,
        queue: &mut Queue,
        sender: Option<PeerId>,
        datagram: Bytes,
        payload: Option<usize>,
    ) -> usize {
        if queue.closed {
            return 1;
        }
        let (length, before) = (datagram.len(), queue.datagrams.bytes());
        let mut dropped = queue.datagrams.push(sender, length, Queued { datagram, payload });
        self.changed(before, queue);
        if let Some(budget) = &self.budget {
            let before = queue.datagrams.bytes();
            let trimmed = queue.datagrams.trim(budget.left());
            if trimmed > 0 {
                self.changed(before, queue);
            }
            dropped += trimmed;
        }
        dropped
    }

    /// Nothing of this peer is wanted: what waits of it is dropped. Gives how many.
    pub(crate) fn forget(&self, sender: PeerId) -> usize {
        let mut queue = self.lock();
        let before = queue.datagrams.bytes();
        let dropped = queue.datagrams.forget(Some(sender));
        self.changed(before, &queue);
        dropped
    }

    /// The connection has ended: what is left is dropped, and whatever comes. Gives how many are left.
    pub(crate) fn close(&self) -> usize {
        let mut queue = self.lock();
        queue.closed = true;
        let before = queue.datagrams.bytes();
        let left = std::mem::take(&mut queue.datagrams).len();
        self.changed(before, &queue);
        left
    }

    /// Control bytes are about to be written: datagrams wait until they are on the wire.
    pub(crate) fn control_written(&self, connection: &Connection) {
        self.lock().hold.written(wire(connection), Instant::now());
    }

    /// Hands datagrams to `connection` until it ends, and counts them then: what waits may still be dropped.
    pub(crate) async fn run(
        &self,
        connection: &Connection,
        way: Direction,
        metrics: &Metrics,
        lines: &Lines,
    ) {
        let mut detours = None;
        loop {
            self.filled.notified().await;
            // Boxed: of ten thousand sessions for which nothing waits, none holds what it takes to hand it over.
            let emptied = Box::pin(self.empty(&mut detours, connection, way, metrics, lines)).await;
            if emptied.is_err() {
                return metrics.dropped(Dropped::Ended, 1);
            }
        }
    }

    /// Hands over all that waits.
    async fn empty(
        &self,
        detours: &mut Option<Detours>,
        connection: &Connection,
        way: Direction,
        metrics: &Metrics,
        lines: &Lines,
    ) -> Result<(), Ended> {
        let mut turn = Turn::new(Instant::now());
        while let Some(Queued { datagram, payload }) = self.pop() {
            if self.guard == Guard::Off {
                if connection.send_datagram(datagram).is_ok() {
                    payload.iter().for_each(|payload| metrics.passed(way, Tally::one(*payload)));
                }
            } else if self.lock().fits(connection, datagram.len()) {
                while self.holds_back(datagram.len(), connection) {
                    tokio::time::sleep(hold::STEP).await;
                }
                match connection.send_datagram_wait(datagram).await {
                    Ok(()) => {
                        payload.iter().for_each(|payload| metrics.passed(way, Tally::one(*payload)))
                    }
                    Err(SendDatagramError::TooLarge) => {
                        self.lock().is_wide = false;
                        metrics.dropped(Dropped::TooLarge, 1);
                    }
                    Err(_) => return Err(Ended),
                }
            } else if let Some(payload) =
                payload.filter(|_| self.takes_streams.load(Ordering::Relaxed))
            {
                match detours.get_or_insert_default().send(connection, datagram).await {
                    Ok(()) => {
                        metrics.passed(way, Tally::one(payload));
                        metrics.went_by_detour();
                    }
                    Err(_) => metrics.dropped(Dropped::NoStream, 1),
                }
            } else {
                metrics.dropped(Dropped::TooLarge, 1);
            }
            if turn.took(1) == After::Others {
                let line = if turn.keeps_up(Instant::now()) { &lines.queues } else { &lines.stuck };
                line.others_first().await;
                turn = turn.next(Instant::now());
            }
        }
        Ok(())
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
        let before = queue.datagrams.bytes();
        let queued = queue.datagrams.pop();
        self.changed(before, &queue);
        (queue.busy, queue.room) = (queued.is_some(), 0);
        queued
    }

    /// The queue held so many bytes before.
    fn changed(&self, before: u32, queue: &Queue) {
        if let Some(budget) = &self.budget {
            budget.changed(before, queue.datagrams.bytes());
        }
    }

    /// Nothing panics while it holds this lock; and a queue is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Egress {
    /// What is left gives its share back, however the session ended.
    fn drop(&mut self) {
        self.close();
    }
}

/// How it stands with quinn.
fn wire(connection: &Connection) -> Wire {
    let stats = connection.stats();
    Wire {
        stream_frames: stats.frame_tx.stream,
        lost: stats.path.lost_packets,
        is_empty: connection.datagram_send_buffer_space() >= NONE_HANDED_OVER,
        rtt: stats.path.rtt,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_protocol::datagram::{HANDED_OVER, Label};

    use super::*;
    use crate::connected::connected;
    use crate::turn::{LEAST, PER_SECOND};

    #[test]
    fn a_fast_sender_does_not_keep_a_slow_one_out() {
        let egress = Egress::default();
        let [fast, slow] = [1, 2].map(|number| Some(PeerId::from_bytes([number; 32])));
        let own = |byte: u8| Bytes::from(vec![byte; 1200]);
        let push = |sender, byte| egress.push(sender, own(byte), Some(1200));
        assert!((0..5000).map(|_| push(fast, 1)).sum::<usize>() > 4000);
        push(slow, 2);
        (0..1000).for_each(|_| assert_eq!(push(fast, 1), 1));
        let first = [egress.pop(), egress.pop()].map(|queued| queued.unwrap().datagram[0]);
        assert_eq!(first, [1, 2]);
    }

    #[tokio::test]
    async fn a_queue_that_moves_leaves_others_their_turns() {
        let (connection, _client, _ends) = connected().await;
        let egress = Arc::new(Egress::default());
        // So many of the smallest ones have room at quinn's at once.
        (0..400).for_each(|_| assert_eq!(egress.push_own(Bytes::from_static(b"a")), 0));
        let running = egress.clone();
        let task = tokio::spawn(async move {
            running.run(&connection, Direction::Out, &Metrics::new(), &Lines::default()).await;
        });
        let (mut before, mut longest, mut round) = (400, 0, Duration::ZERO);
        while before > 0 {
            let began = Instant::now();
            tokio::task::yield_now().await;
            round = round.max(began.elapsed());
            let left = egress.lock().datagrams.len();
            longest = longest.max(std::mem::replace(&mut before, left) - left);
        }
        task.abort();
        // What it would have sent in the time of two rounds, if those were long.
        let turn = LEAST.max((2 * round).as_micros() as usize * PER_SECOND as usize / 1_000_000);
        assert!((1..=2 * turn).contains(&longest), "{longest} in a turn, a round took {round:?}");
    }

    #[tokio::test]
    async fn those_whose_queues_are_never_empty_are_waited_for_by_nobody_else() {
        let (connection, _client, _ends) = connected().await;
        let (egress, lines) = (Arc::new(Egress::default()), Arc::<Lines>::default());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10_000 {
            let lines = lines.clone();
            tasks.spawn(async move { lines.stuck.others_first().await });
        }
        (0..400).for_each(|_| assert_eq!(egress.push_own(Bytes::from_static(b"a")), 0));
        let running = egress.clone();
        tasks.spawn(async move {
            running.run(&connection, Direction::Out, &Metrics::new(), &lines).await;
        });
        while !egress.lock().datagrams.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut waited = 0;
        while tasks.try_join_next().is_some() {
            waited += 1;
        }
        assert!(waited < 5_000, "{waited} of 10,000 were first");
    }

    #[tokio::test]
    async fn quinn_is_given_what_it_has_room_for_and_the_rest_waits() {
        let (connection, client, _ends) = connected().await;
        let (egress, metrics) = (Arc::new(Egress::default()), Arc::<Metrics>::default());
        let sender = PeerId::from_bytes([1; 32]);
        for round in 0..3_u8 {
            // In one go: nothing leaves meanwhile.
            let payloads: Vec<_> = (0..40).map(|number| [40 * round + number; 1000]).collect();
            let header = Label::Alias(16);
            let outgoing = Outgoing { sender, header, comes: Comes::Alone };
            let (payloads, way) = (payloads.iter().map(|payload| &payload[..]), Direction::Out);
            let beyond = |limited| panic!("{limited:?}");
            egress.send(&connection, outgoing, payloads, way, &metrics, beyond);
            let given = 40 - egress.lock().datagrams.len();
            assert_eq!(given, HANDED_OVER / (1001 + OVERHEAD), "round {round}");
            let (running, to, counted) = (egress.clone(), connection.clone(), metrics.clone());
            let task = tokio::spawn(async move {
                running.run(&to, Direction::Out, &counted, &Lines::default()).await
            });
            for number in 0..40 {
                assert_eq!(client.read_datagram().await.unwrap()[1], 40 * round + number);
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }

    #[tokio::test]
    async fn it_is_known_when_quinn_holds_no_datagram() {
        let (connection, _client, _ends) = connected().await;
        assert!(wire(&connection).is_empty);
        connection.send_datagram(Bytes::from_static(b"a")).unwrap();
        assert!(!wire(&connection).is_empty, "before anything else had its turn");
    }

    #[test]
    fn what_waits_of_a_peer_that_is_not_wanted_goes_and_nothing_else() {
        let egress = Egress::default();
        let [one, other] = [1, 2].map(|number| PeerId::from_bytes([number; 32]));
        for (sender, count) in [(Some(one), 3), (Some(other), 2), (None, 1)] {
            for _ in 0..count {
                assert_eq!(egress.push(sender, Bytes::from_static(b"x"), Some(1)), 0);
            }
        }
        assert_eq!([one, one, other].map(|peer| egress.forget(peer)), [3, 0, 2]);
        assert!(egress.pop().is_some() && egress.pop().is_none(), "the relay's own is left");
    }

    #[test]
    fn many_slow_readers_hold_no_more_than_all_may() {
        let used = prometheus::IntGauge::new("used", "used").unwrap();
        let budget = Arc::new(Budget::new(std::num::NonZeroU64::new(1 << 20), used.clone()));
        let queues: Vec<_> = (0..100).map(|_| Egress::new(Guard::On, budget.clone())).collect();
        let payload = Bytes::from(vec![0; 1200]);
        let mut dropped = 0;
        for number in 0..50_000 {
            dropped += queues[number % 100].push_own(payload.clone());
        }
        // What all may hold, what each keeps, and one datagram.
        assert!(used.get() <= (1 << 20) + 100 * 4096 + 1536, "{} bytes", used.get());
        assert!(used.get() > 1 << 19, "{} bytes", used.get());
        let held: usize = queues.iter().map(|queue| queue.lock().datagrams.len()).sum();
        assert_eq!(held + dropped, 50_000);
        assert!(queues.iter().all(|queue| queue.lock().datagrams.len() > 1), "each has its own");
        while queues[0].pop().is_some() {}
        assert!(queues[1].close() > 1);
        drop(queues);
        assert_eq!(used.get(), 0, "it is given back by whoever ends, in whatever way");
        budget.set(None);
        let queue = Egress::new(Guard::On, budget);
        assert_eq!((0..100).map(|_| queue.push_own(payload.clone())).sum::<usize>(), 0);
    }

    #[test]
    fn whoever_comes_next_has_as_much_as_each_of_those_who_always_have_more() {
        let used = prometheus::IntGauge::new("used", "used").unwrap();
        let budget = Arc::new(Budget::new(std::num::NonZeroU64::new(1 << 20), used));
        let queues: Vec<_> = (0..20).map(|_| Egress::new(Guard::On, budget.clone())).collect();
        let payload = Bytes::from(vec![0; 1200]);
        let flood = || {
            for number in 0..20_000 {
                queues[number % 20].push_own(payload.clone());
            }
        };
        flood();
        let newcomer = Egress::new(Guard::On, budget);
        assert_eq!((0..15).map(|_| newcomer.push_own(payload.clone())).sum::<usize>(), 0);
        flood();
        let held = queues.iter().map(|queue| queue.lock().datagrams.len());
        assert!(held.clone().all(|held| held > 30), "{:?}", held.collect::<Vec<_>>());
        assert_eq!(newcomer.lock().datagrams.len(), 15, "they take nothing from it");
    }

    #[test]
    fn nothing_overtakes_what_waits_or_is_being_handed_over() {
        let egress = Egress::default();
        let is_open = || egress.lock().is_open();
        assert!(is_open());
        egress.push_own(Bytes::from_static(b"abc"));
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
    fn what_is_left_at_the_end_is_counted_and_nothing_is_taken_any_more() {
        let egress = Egress::default();
        for _ in 0..3 {
            egress.push_own(Bytes::from_static(b"abc"));
        }
        assert_eq!(egress.close(), 3);
        assert_eq!(egress.push_own(Bytes::from_static(b"abc")), 1);
        assert!(egress.pop().is_none());
    }
}
