//! The attacks, by name.

mod datagrams;
mod frames;
mod handshakes;
mod hellos;
mod presence;
mod silence;
mod twins;

use std::pin::Pin;

use clap::ValueEnum;

use crate::counts::Counts;
use crate::field::Field;

/// An attack under way. It ends only if it cannot go on.
type UnderWay<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// First packets, as fast as they can be sent, from addresses that are not shown to be its own
    FirstPackets,
    /// First packets from an address that is, each of which says at once that it is over: the relay has its work, and no
    /// handshake under way
    Begun,
    /// Connections that never say HELLO, or say it byte by byte
    Silent,
    /// Frames that are too long, unknown, or no frames, before HELLO and after WELCOME
    Frames,
    /// Frames that a relay must skip, or may ignore, without end
    Skipped,
    /// Somebody else's HELLO, on connections of its own
    Replayed,
    /// Each of its tokens, with keys of its own
    Tokens,
    /// As many watches as it gets, of peers that come and go all the time
    Watches,
    /// Sessions that ask for much and read nothing
    Deaf,
    /// Watches, routes and datagrams to peers of another group, and to peers that are nowhere
    Strangers,
    /// A hundred senders to one receiver
    Senders,
    /// Datagrams to a peer that is not there
    Offline,
    /// The smallest datagrams, to many who acknowledge nothing
    Slow,
    /// Pairs of clients with one key each
    Twins,
}

impl Attack {
    /// Does it.
    pub(crate) fn run<'a>(self, field: &'a Field, counts: &'a Counts) -> UnderWay<'a> {
        match self {
            Self::FirstPackets => Box::pin(handshakes::first_packets(field, counts)),
            Self::Begun => Box::pin(handshakes::begun(field, counts)),
            Self::Silent => Box::pin(silence::silent(field, counts)),
            Self::Frames => Box::pin(frames::wrong(field, counts)),
            Self::Skipped => Box::pin(frames::skipped(field, counts)),
            Self::Replayed => Box::pin(hellos::replayed(field, counts)),
            Self::Tokens => Box::pin(hellos::tokens(field, counts)),
            Self::Watches => Box::pin(presence::watches(field, counts)),
            Self::Deaf => Box::pin(presence::deaf(field, counts)),
            Self::Strangers => Box::pin(presence::strangers(field, counts)),
            Self::Senders => Box::pin(datagrams::senders(field, counts)),
            Self::Offline => Box::pin(datagrams::offline(field, counts)),
            Self::Slow => Box::pin(datagrams::slow(field, counts)),
            Self::Twins => Box::pin(twins::twins(field, counts)),
        }
    }
}
