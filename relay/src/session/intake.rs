//! What takes a client's datagrams: those that come as datagrams, and those that come by streams. What it may send is counted
//! for both together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quinn::RecvStream;

use super::Shared;
use super::handle::Handle;
use super::ingress::Ingress;
use super::paths::TICK;
use super::routes::{Routes, Seen, take, take_detour};
use super::turn::Turn;
use crate::detour;
use crate::mailbox::Mailbox;
use crate::turns::DATAGRAMS;

/// What there may be to say to the session's state machine at a time. More is dropped: it is repeated by itself.
const MAX_SEEN: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    pub(super) routes: Routes,
    /// For the state machine.
    pub(super) seen: Mailbox<Seen>,
    ingress: Mutex<Ingress>,
}

impl Intake {
    pub(super) fn new(shared: &Arc<Shared>, handle: &Arc<Handle>) -> Self {
        Self {
            shared: shared.clone(),
            handle: handle.clone(),
            routes: Routes::default(),
            seen: Mailbox::new(MAX_SEEN),
            ingress: Mutex::new(Ingress::new(shared.rates.get(), Instant::now())),
        }
    }

    /// Takes datagrams until the connection ends.
    pub(super) async fn read_datagrams(self: Arc<Self>) {
        let connection = &self.handle.connection;
        let mut address = connection.remote_address();
        let mut look_at = Instant::now();
        let mut turn = Turn::new(look_at);
        while let Ok(datagram) = connection.read_datagram().await {
            let now = Instant::now();
            if look_at <= now {
                look_at = now + TICK;
                self.ingress().set(self.shared.rates.get(), now);
                let before = std::mem::replace(&mut address, connection.remote_address());
                if before != address {
                    // What finds no room is noticed a little later.
                    let _ = self.seen.put(Seen::Elsewhere);
                }
            }
            self.take_one(&datagram, now);
            if turn.is_over() {
                DATAGRAMS.others_first().await;
                turn = turn.next(Instant::now());
            }
        }
    }

    fn take_one(&self, datagram: &Bytes, now: Instant) {
        let mut ingress = self.ingress();
        let metrics = &self.shared.metrics;
        let what = take(&self.handle, &self.routes, &mut ingress, datagram, now, metrics);
        self.say(what, &mut ingress);
    }

    /// Takes the one datagram of a stream.
    pub(super) async fn read_detour(self: Arc<Self>, stream: RecvStream) {
        let datagram = detour::read(stream).await;
        let (mut ingress, now) = (self.ingress(), Instant::now());
        let metrics = &self.shared.metrics;
        let datagram = datagram.as_ref();
        let what = take_detour(&self.handle, &self.routes, &mut ingress, datagram, now, metrics);
        self.say(what, &mut ingress);
    }

    /// What finds no room is said again by the next datagram.
    fn say(&self, what: Option<Seen>, ingress: &mut Ingress) {
        if let Some(what) = what
            && self.seen.put(what)
            && let Seen::Limited(limited) = what
        {
            ingress.told(limited);
        }
    }

    /// Nothing panics while it holds this lock.
    fn ingress(&self) -> MutexGuard<'_, Ingress> {
        self.ingress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
