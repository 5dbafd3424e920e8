//! The hot path: from a client's datagram to where it goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use baton_protocol::datagram::{self, Datagram};
use baton_protocol::frame::Limited;
use bytes::Bytes;

use super::handle::Handle;
use super::ingress::Ingress;
use crate::arrivals::Comes;
use crate::directory::{Destination, Target};
use crate::mailbox::Mailbox;
use crate::mesh::forward::Header;
use crate::metrics::{Direction, Dropped, Metrics, Tally};

/// The routes of one session: its state machine opens and shuts them, its datagram reader looks them up.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_alias: HashMap<u64, Arc<Destination>>,
    /// The one that was used last, as long as it is open: mostly the next datagram is for it, too.
    last: Option<(u64, Arc<Destination>)>,
}

impl Routes {
    pub(super) fn open(&mut self, alias: u64, destination: Arc<Destination>) {
        self.last = None;
        self.by_alias.insert(alias, destination);
    }

    pub(super) fn shut(&mut self, alias: u64) {
        self.last = None;
        self.by_alias.remove(&alias);
    }

    fn find(&mut self, alias: u64) -> Option<&Destination> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != alias) {
            self.last = Some((alias, self.by_alias.get(&alias)?.clone()));
        }
        self.last.as_ref().map(|(_, destination)| &**destination)
    }

    /// Sends a client's datagrams on.
    fn forward(
        &mut self,
        from: &Handle,
        ingress: &mut Ingress,
        run: Run<'_>,
        at: Instant,
        say: &Say<'_>,
    ) {
        let Say { metrics, .. } = say;
        let mut came = Tally::default();
        run.payloads().for_each(|payload| came.add(payload.len()));
        metrics.passed(Direction::In, came);
        let Run { alias, comes, .. } = run;
        let Some(destination) = self.find(alias) else {
            return metrics.dropped(Dropped::UnknownAlias, run.datagrams.len());
        };
        let peer = destination.peer;
        let passing = run.payloads().filter(|payload| {
            let passes = ingress.pass(peer, payload.len(), at);
            passes.map_err(|limited| say.beyond(limited, ingress)).is_ok()
        });
        let mut payloads = passing.peekable();
        if payloads.peek().is_none() {
            // Nobody is told of a sender of whom nothing comes.
            return;
        }
        let target = destination.target();
        let stranger = target.is_stranger(&from.group);
        let offline = match &**target {
            Target::Here(receiver) => {
                receiver.deliver(from.peer, stranger, payloads, comes, metrics).is_err()
            }
            Target::There { sibling, stamp, takes_strangers, .. }
                if !stranger || *takes_strangers =>
            {
                let (destination, sender, stamp) = (peer.prefix(), from.peer, *stamp);
                let header = Header { destination, sender, stamp, hops: 0, stranger };
                sibling.forward(header, payloads, comes, metrics);
                false
            }
            Target::Nowhere | Target::There { .. } => {
                metrics.dropped(Dropped::Offline, payloads.count());
                true
            }
        };
        if offline {
            let _ = say.seen.put(Seen::Offline { alias });
        }
    }
}

/// Datagrams that came one after another on the same route.
#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    alias: u64,
    /// The length of what stands before each payload.
    header: usize,
    datagrams: &'a [Bytes],
    /// How the first came.
    comes: Comes,
}

impl<'a> Run<'a> {
    fn payloads(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let header = self.header;
        self.datagrams.iter().map(move |datagram| &datagram[header..])
    }
}

/// What is made known of datagrams: counted, or told to the client.
pub(super) struct Say<'a> {
    pub(super) metrics: &'a Metrics,
    /// For the session's state machine. What finds no room is said again for the next datagram.
    pub(super) seen: &'a Mailbox<Seen>,
}

impl Say<'_> {
    /// A datagram is dropped for a limit.
    fn beyond(&self, limited: Limited, ingress: &mut Ingress) {
        self.metrics.limited(limited.kind);
        if ingress.is_news(limited) && self.seen.put(Seen::Limited(limited)) {
            ingress.told(limited);
        }
    }
}

/// What a session's datagram reader passes to its state machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// A datagram for a peer that is not there, or does not let its sender in: the two look the same.
    Offline {
        /// Of the route.
        alias: u64,
    },
    /// An answer to an echo.
    EchoReply {
        /// Of the echo.
        nonce: [u8; 8],
    },
    /// The client has switched to another path, and asks whether it works.
    PathConfirm {
        /// Of the attempt.
        attempt: u64,
        /// Of the latest echo.
        nonce: [u8; 8],
    },
    /// The client's address is another one.
    Elsewhere,
    /// The client met a limit.
    Limited(Limited),
}

/// Takes what came by a stream, because it did not fit the client's path as a datagram. Only payload does: whoever asks about a
/// path must use it.
pub(super) fn take_detour(
    handle: &Handle,
    routes: &mut Routes,
    ingress: &mut Ingress,
    datagram: Option<&Bytes>,
    at: Instant,
    say: &Say<'_>,
) {
    let Some(datagram) = datagram else {
        return say.metrics.dropped(Dropped::Unfinished, 1);
    };
    if let Err(limited) = ingress.take(datagram.len(), at) {
        return say.beyond(limited, ingress);
    }
    let Some((alias, header)) = route_of(datagram) else {
        return say.metrics.dropped(Dropped::Malformed, 1);
    };
    say.metrics.came_by_detour();
    let datagrams = std::slice::from_ref(datagram);
    let run = Run { alias, header, datagrams, comes: Comes::Alone };
    routes.forward(handle, ingress, run, at, say);
}

/// Takes datagrams of a client that came at once, the first in this way. Those on the same route that follow one another go on together:
/// nearly all do, and nearly all that is to be asked is the same for each of them.
pub(super) fn take(
    handle: &Handle,
    routes: &mut Routes,
    ingress: &mut Ingress,
    (datagrams, comes): (&[Bytes], Comes),
    at: Instant,
    say: &Say<'_>,
) {
    let mut go_on = |ingress: &mut Ingress, route, start: usize, end: usize| {
        let Some((alias, header)) = route else { return };
        let comes = if start == 0 { comes } else { Comes::CloseBehind };
        let run = Run { alias, header, datagrams: &datagrams[start..end], comes };
        routes.forward(handle, ingress, run, at, say);
    };
    let (mut start, mut route) = (0, None);
    for (number, datagram) in datagrams.iter().enumerate() {
        let taken = ingress.take(datagram.len(), at);
        let next = taken.is_ok().then(|| route_of(datagram)).flatten();
        if next != route {
            go_on(ingress, route, start, number);
            (start, route) = (number, next);
        }
        match taken {
            Err(limited) => say.beyond(limited, ingress),
            Ok(()) if next.is_none() => take_other(handle, datagram, say),
            Ok(()) => {}
        }
    }
    go_on(ingress, route, start, datagrams.len());
}

/// The alias of a datagram on a route, and the length of what stands before its payload.
fn route_of(datagram: &[u8]) -> Option<(u64, usize)> {
    let (alias, payload) = datagram::on_route(datagram)?;
    Some((alias, datagram.len() - payload.len()))
}

/// Takes a datagram that is on no route.
fn take_other(handle: &Handle, datagram: &Bytes, say: &Say<'_>) {
    let Say { metrics, seen } = say;
    match Datagram::decode(datagram) {
        Ok(Datagram::Echo { nonce }) => {
            // Answered in the size in which it was asked, or in what fits: never larger.
            let room = handle.connection.max_datagram_size().unwrap_or(0);
            let reply = datagram::echo_reply(nonce, datagram.len().min(room));
            metrics.dropped(Dropped::QueueFull, handle.egress.push_own(reply));
        }
        Ok(Datagram::EchoReply { nonce }) => {
            let _ = seen.put(Seen::EchoReply { nonce });
        }
        Ok(Datagram::PathConfirm { attempt, nonce }) => {
            let _ = seen.put(Seen::PathConfirm { attempt, nonce });
        }
        Ok(Datagram::Long { .. } | Datagram::Aliased { .. } | Datagram::PathConfirmed { .. })
        | Err(_) => metrics.dropped(Dropped::Malformed, 1),
    }
}

#[cfg(test)]
mod tests {
    use baton_protocol::id::PeerId;

    use super::*;

    #[test]
    fn a_route_is_found_from_its_opening_to_its_end_whichever_was_used_last() {
        let to = |byte| Arc::new(Destination::new(PeerId::from_bytes([byte; 32]), Target::Nowhere));
        let found = |routes: &mut Routes, alias| {
            routes.find(alias).map(|destination| destination.peer.as_bytes()[0])
        };
        let mut routes = Routes::default();
        assert_eq!(found(&mut routes, 16), None);
        routes.open(16, to(1));
        routes.open(17, to(2));
        assert_eq!(
            [16, 16, 17, 18, 17, 16].map(|alias| found(&mut routes, alias)),
            [Some(1), Some(1), Some(2), None, Some(2), Some(1)]
        );
        routes.shut(16);
        assert_eq!([16, 17].map(|alias| found(&mut routes, alias)), [None, Some(2)]);
        routes.shut(17);
        routes.open(17, to(3));
        assert_eq!(found(&mut routes, 17), Some(3), "the alias of another peer now");
    }
}
