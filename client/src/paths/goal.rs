//! What an attempt is for, and who waits for its end.

use super::{Migrated, MigrationError, Probed, Reply};

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Goal {
    /// To know whether the path works.
    Probe(Reply<Probed>),
    /// To use it, if it does.
    Migrate(Reply<Migrated>),
    /// It is used already. Its owner may ask how that ends, now or later.
    Switched(Option<Reply<Migrated>>),
    /// The machine has another address: the client's own idea.
    Follow,
}

/// How the last attempt ended whose owner has not asked yet.
pub(super) type Last = (u64, Result<Migrated, MigrationError>);

impl Goal {
    /// Whether the session is to use the path.
    pub(super) const fn is_use(&self) -> bool {
        !matches!(self, Self::Probe(_))
    }

    /// Nobody waits for what it could still find out.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Probe(reply) => reply.is_closed(),
            Self::Migrate(reply) => reply.is_closed(),
            Self::Switched(_) | Self::Follow => false,
        }
    }

    /// It came to nothing, before there was an attempt.
    pub(super) fn fail(self, error: MigrationError) {
        self.end(0, Err(error), &mut None);
    }

    /// Tells whoever waits. What an owner may still ask for is kept.
    pub(super) fn end(
        self,
        number: u64,
        end: Result<Migrated, MigrationError>,
        last: &mut Option<Last>,
    ) {
        match (self, end) {
            (Self::Migrate(reply) | Self::Switched(Some(reply)), end) => drop(reply.send(end)),
            (Self::Switched(None), end) => *last = Some((number, end)),
            (Self::Probe(reply), Err(error)) => drop(reply.send(Err(error))),
            // A probe that is answered has ended before; nobody waits for what was nobody's order.
            (Self::Probe(_), Ok(_)) | (Self::Follow, _) => {}
        }
    }
}
