//! What the driver does about the policy: every session is told of each change.

use std::time::Instant;

use baton_protocol::attachment::Slot;
use baton_protocol::id::PeerId;

use super::Driver;
use crate::events::Event;
use crate::policy::{Change, Reply};
use crate::session::queue::lock;

impl Driver {
    /// The owner lets others in than before. It hears when the relay in use has said that it does.
    pub(super) fn change_policy(&mut self, change: Change, reply: Reply) {
        let frame = match self.policies.change(change) {
            Ok(frame) => frame,
            Err(error) => return drop(reply.send(Err(error.into()))),
        };
        let current = self.current.as_ref().map(|(slot, _)| *slot);
        let mut reply = Some(reply);
        // Those that are not in use may be, soon or again.
        for slot in self.policies.sessions() {
            let waits = if Some(slot) == current { reply.take() } else { None };
            self.policies.telling(slot, waits, Instant::now());
            self.write(slot, std::slice::from_ref(&frame));
        }
        if let Some(reply) = reply {
            // There is no session: the next one is told, before anything may come there.
            let _ = reply.send(Ok(()));
        }
        self.look_at_policy();
    }

    /// Tells the owner if the relay in use does not keep the policy.
    pub(super) fn look_at_policy(&mut self) {
        let Some((slot, _)) = self.current else { return };
        if self.policies.is_news(slot, Instant::now()) {
            let relay = lock(&self.shared.status).relay;
            tracing::warn!("the relay does not keep this client's policy: it lets the group in");
            self.shared.tell(Event::PolicyNotKept { relay });
        }
    }

    /// A peer wants to be let in.
    pub(super) fn knock(&self, peer: PeerId) {
        // It may have been let in, or blocked, since the relay said so.
        if !self.shared.inbound.admission.names(&peer) {
            tracing::info!(%peer, "a peer that is not allowed knocks");
            self.shared.tell(Event::Knock { peer });
        }
    }

    /// Another session is in use: of strangers, what the relays of those that are gone said is over.
    pub(super) fn forget_strangers(&self) {
        let is_there = |slot: &Slot| self.connections.contains_key(slot);
        self.shared.inbound.admission.keep(is_there);
    }
}
