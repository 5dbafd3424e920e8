//! What takes a client's datagrams: those that come as datagrams, and those that come by streams. What it may send is counted
//! for both together.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn::RecvStream;

use super::Shared;
use super::handle::Handle;
use super::ingress::Ingress;
use super::paths::TICK;
use super::routes::{Routes, Say, Seen, take, take_detour};
use crate::arrivals::{self, Arrivals, Batch, Comes};
use crate::detour;
use crate::directory::Destination;
use crate::mailbox::Mailbox;
use crate::turn::{After, Turn};

/// What there may be to say to the session's state machine at a time. More is dropped: it is repeated by itself.
const MAX_SEEN: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    /// For the state machine.
    pub(super) seen: Mailbox<Seen>,
    gate: Mutex<Gate>,
}

/// What every datagram passes. Under its lock those of receivers are taken, and never the other way round.
#[derive(Debug)]
struct Gate {
    ingress: Ingress,
    routes: Routes,
}

impl Intake {
    pub(super) fn new(shared: &Arc<Shared>, handle: &Arc<Handle>) -> Self {
        let ingress = Ingress::new(shared.rates.get(), Instant::now());
        Self {
            shared: shared.clone(),
            handle: handle.clone(),
            seen: Mailbox::new(MAX_SEEN),
            gate: Mutex::new(Gate { ingress, routes: Routes::default() }),
        }
    }

    /// From now on datagrams with this alias go there.
    pub(super) fn open(&self, alias: u64, destination: Arc<Destination>) {
        self.gate().routes.open(alias, destination);
    }

    /// And from now on no more.
    pub(super) fn shut(&self, alias: u64) {
        self.gate().routes.shut(alias);
    }

    /// Takes datagrams until the connection ends.
    pub(super) async fn read_datagrams(self: Arc<Self>) {
        let connection = &self.handle.connection;
        let mut address = connection.remote_address();
        let mut now = Instant::now();
        let (mut look_at, mut turn) = (now, Turn::new(now));
        let reading = pin!(connection.read_datagram());
        let mut arrivals = Arrivals::new(connection, reading);
        while let Ok(batch) = arrivals.next(turn.room()).await {
            // What was there already came at the same time as the one before. While it waited all others had their turn.
            if batch.comes == Comes::Alone {
                now = Instant::now();
                turn = turn.after_none(now);
            }
            if look_at <= now {
                look_at = now + TICK;
                self.gate().ingress.set(self.shared.rates.get(), now);
                let before = std::mem::replace(&mut address, connection.remote_address());
                if before != address {
                    // What finds no room is noticed a little later.
                    let _ = self.seen.put(Seen::Elsewhere);
                }
            }
            self.take(&batch, now);
            let after = turn.took(batch.len());
            drop(batch);
            match after {
                After::Next => {}
                After::Receivers => {
                    arrivals::receivers_first().await;
                    turn.go_on(Instant::now());
                }
                After::Others => {
                    // Boxed: ten thousand who wait for their first datagram do not hold it.
                    Box::pin(self.shared.lines.datagrams.others_first()).await;
                    now = Instant::now();
                    turn = turn.next(now);
                }
            }
        }
    }

    fn take(&self, batch: &Batch<'_>, now: Instant) {
        let mut gate = self.gate();
        let Gate { ingress, routes } = &mut *gate;
        take(&self.handle, routes, ingress, (batch, batch.comes), now, &self.say());
    }

    /// Takes the one datagram of a stream.
    pub(super) async fn read_detour(self: Arc<Self>, stream: RecvStream) {
        let (datagram, now) = (detour::read(stream).await, Instant::now());
        let mut gate = self.gate();
        let Gate { ingress, routes } = &mut *gate;
        take_detour(&self.handle, routes, ingress, datagram.as_ref(), now, &self.say());
    }

    fn say(&self) -> Say<'_> {
        Say { metrics: &self.shared.metrics, seen: &self.seen }
    }

    /// Nothing panics while it holds this lock.
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
