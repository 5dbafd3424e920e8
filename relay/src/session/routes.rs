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
use crate::mesh::forward::Header;
use crate::metrics::{Direction, Dropped, Metrics};

/// When a datagram came, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) comes: Comes,
}

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

    /// Sends a client's datagram on. Gives what its client is to be told.
    pub(super) fn forward(
        &mut self,
        from: &Handle,
        ingress: &mut Ingress,
        alias: u64,
        payload: &[u8],
        arrival: Arrival,
        metrics: &Metrics,
    ) -> Option<Seen> {
        metrics.passed(Direction::In, payload.len());
        let Some(destination) = self.find(alias) else {
            metrics.dropped(Dropped::UnknownAlias, 1);
            return None;
        };
        if let Err(limited) = ingress.pass(destination.peer, payload.len(), arrival.at) {
            return beyond(limited, ingress, metrics);
        }
        let target = destination.target();
        let stranger = target.is_stranger(&from.group);
        let passed = match &**target {
            Target::Here(receiver) => {
                receiver.deliver(from.peer, stranger, payload, arrival.comes, metrics).is_ok()
            }
            Target::There { sibling, stamp, takes_strangers, .. }
                if !stranger || *takes_strangers =>
            {
                let (destination, sender, stamp) = (destination.peer.prefix(), from.peer, *stamp);
                let header = Header { destination, sender, stamp, hops: 0, stranger };
                sibling.forward(header, payload, arrival.comes, metrics);
                true
            }
            Target::Nowhere | Target::There { .. } => {
                metrics.dropped(Dropped::Offline, 1);
                false
            }
        };
        (!passed).then_some(Seen::Offline { alias })
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
    arrival: Arrival,
    metrics: &Metrics,
) -> Option<Seen> {
    let Some(datagram) = datagram else {
        metrics.dropped(Dropped::Unfinished, 1);
        return None;
    };
    if let Err(limited) = ingress.take(datagram.len(), arrival.at) {
        return beyond(limited, ingress, metrics);
    }
    let Some((alias, payload)) = datagram::on_route(datagram) else {
        metrics.dropped(Dropped::Malformed, 1);
        return None;
    };
    metrics.came_by_detour();
    routes.forward(handle, ingress, alias, payload, arrival, metrics)
}

/// Takes one datagram from a client.
pub(super) fn take(
    handle: &Handle,
    routes: &mut Routes,
    ingress: &mut Ingress,
    datagram: &Bytes,
    arrival: Arrival,
    metrics: &Metrics,
) -> Option<Seen> {
    if let Err(limited) = ingress.take(datagram.len(), arrival.at) {
        return beyond(limited, ingress, metrics);
    }
    // Nearly all are on a route, and their payload is copied once, to where it goes.
    if let Some((alias, payload)) = datagram::on_route(datagram) {
        return routes.forward(handle, ingress, alias, payload, arrival, metrics);
    }
    match Datagram::decode(datagram) {
        Ok(Datagram::Echo { nonce }) => {
            // Answered in the size in which it was asked, or in what fits: never larger.
            let room = handle.connection.max_datagram_size().unwrap_or(0);
            let reply = datagram::echo_reply(nonce, datagram.len().min(room));
            metrics.dropped(Dropped::QueueFull, handle.egress.push_own(reply));
            None
        }
        Ok(Datagram::EchoReply { nonce }) => Some(Seen::EchoReply { nonce }),
        Ok(Datagram::PathConfirm { attempt, nonce }) => Some(Seen::PathConfirm { attempt, nonce }),
        Ok(Datagram::Long { .. } | Datagram::Aliased { .. } | Datagram::PathConfirmed { .. })
        | Err(_) => {
            metrics.dropped(Dropped::Malformed, 1);
            None
        }
    }
}

/// A datagram is dropped for a limit.
fn beyond(limited: Limited, ingress: &Ingress, metrics: &Metrics) -> Option<Seen> {
    metrics.limited(limited.kind);
    ingress.is_news(limited).then_some(Seen::Limited(limited))
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
