//! The connections to other peers, one for each, and what is offered to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use baton_protocol::id::PeerId;
use quinn::Connection;
use tokio::sync::{Notify, broadcast};

use super::stream::Rejection;
use crate::events::Event;
use crate::inbound::Inbound;
use crate::life::Life;
use crate::service::{Allow, ServiceName};
use crate::session::queue::lock;

/// A place for the connection to one peer. Locked while it is dialed, so that it is dialed once.
pub(super) type Place = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Debug)]
struct Living {
    peer: PeerId,
    poked: Arc<Notify>,
}

/// What a service takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Streams.
    Stream,
    /// Flows of datagrams.
    Flow,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Peers {
    events: broadcast::Sender<Event>,
    pub(super) life: Arc<Life>,
    places: Mutex<HashMap<PeerId, Place>>,
    /// Connections that live, whoever made them.
    living: Mutex<HashMap<usize, Living>>,
    services: Mutex<BTreeMap<(Kind, ServiceName), Allow>>,
    inbound: Arc<Inbound>,
}

impl Peers {
    pub(crate) fn new(
        events: broadcast::Sender<Event>,
        life: Arc<Life>,
        inbound: Arc<Inbound>,
    ) -> Self {
        let (places, living, services) = Default::default();
        Self { events, life, places, living, services, inbound }
    }

    pub(crate) fn offer(&self, kind: Kind, service: ServiceName, allow: Allow) {
        lock(&self.services).insert((kind, service), allow);
    }

    /// The peer says that it is about to close.
    pub(super) fn closing(&self, peer: PeerId) {
        // Nobody may be listening.
        let _ = self.events.send(Event::PeerClosing { peer });
    }

    pub(super) fn judge(
        &self,
        kind: Kind,
        service: &ServiceName,
        peer: &PeerId,
    ) -> Result<(), Rejection> {
        let stranger = self.inbound.admission.is_stranger(peer);
        match lock(&self.services).get(&(kind, service.clone())) {
            _ if !self.life.is_open() => Err(Rejection::Closing),
            None => Err(Rejection::UnknownService),
            Some(allow) if allow.admits(peer, stranger) => Ok(()),
            Some(_) => Err(Rejection::NotAllowed),
        }
    }

    pub(super) fn place(&self, peer: PeerId) -> Place {
        lock(&self.places).entry(peer).or_default().clone()
    }

    /// A connection lives. One that the peer made is used for our streams too, unless there is another already.
    /// Gives what says that the connection should be nudged.
    pub(super) fn lives(&self, peer: PeerId, connection: &Connection) -> Arc<Notify> {
        let poked = Arc::new(Notify::new());
        lock(&self.living).insert(connection.stable_id(), Living { peer, poked: poked.clone() });
        let place = self.place(peer);
        if let Ok(mut place) = place.try_lock()
            && place.as_ref().is_none_or(|other| other.close_reason().is_some())
        {
            *place = Some(connection.clone());
        }
        poked
    }

    /// A connection has ended.
    pub(super) fn ended(&self, peer: PeerId, connection: &Connection) {
        lock(&self.living).remove(&connection.stable_id());
        let mut places = lock(&self.places);
        let idle = |place: &Place| {
            Arc::strong_count(place) == 1
                && place.try_lock().is_ok_and(|place| {
                    place.as_ref().is_none_or(|other| other.close_reason().is_some())
                })
        };
        if places.get(&peer).is_some_and(idle) {
            places.remove(&peer);
        }
    }

    /// Sends something to a peer, or to all, that asks for an answer. If packets were lost with a session, recovery begins
    /// with that instead of with a timer that has backed off.
    pub(crate) fn poke(&self, peer: Option<PeerId>) {
        let living = lock(&self.living);
        let meant = living.values().filter(|one| peer.is_none_or(|peer| peer == one.peer));
        meant.for_each(|one| one.poked.notify_one());
    }
}
