//! The frames of the control stream: `type varint, length varint, body`.
//!
//! An unknown type below 0x40 is an error; one of 0x40 or above may be skipped. So a later version can add frames that
//! old ends ignore, and frames that they must not ignore.

mod decoder;
mod goaway;
mod hello;
mod limited;
mod policy;
mod renewal;
mod routes;
mod welcome;

use bytes::{BufMut, Bytes, BytesMut};

pub use decoder::{Decoder, FrameError};
pub use goaway::{GoAway, GoAwayReason};
pub use hello::{
    CAPABILITY_PATHS, CAPABILITY_POLICIES, CAPABILITY_POLICY_FIRST, CAPABILITY_RECLAIM,
    CAPABILITY_STREAMS, Hello, Intent,
};
pub use limited::{LimitKind, Limited};
pub use policy::{MAX_RULED, PolicyMode, Rule, RuleVerb, Ruled};
pub use renewal::{Renewed, Token};
pub use routes::{NoticeCode, PeerState};
pub use welcome::{RefusalCode, Refused, Retry, Welcome};
pub(crate) use welcome::{read_address, read_duration, write_address, write_duration};

use crate::id::{PeerId, RelayId, Stamp};
use crate::path::report::PathReport;
use crate::varint;
use crate::wire::{Reader, WireError, put_bytes};

/// The longest frame body.
pub const MAX_BODY: usize = 16 * 1024;

/// The longest frame body before the peer is known.
pub const MAX_BODY_UNAUTHENTICATED: usize = 4 * 1024;

/// The longest ticket.
pub const MAX_TICKET: usize = 512;

/// The longest access token.
pub const MAX_TOKEN: usize = 2048;

/// The most route ids in one frame.
pub const MAX_ROUTE_IDS: usize = 16;

/// Types from here on are skipped when they are unknown.
pub const FIRST_SKIPPABLE: u64 = 0x40;

/// A one-purpose connection id that takes a first flight to one relay.
pub type RouteId = [u8; 17];

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Client: this is who I am, and why I come.
    Hello(Box<Hello>),
    /// Relay: you are in.
    Welcome(Box<Welcome>),
    /// Relay: you are not.
    Refused(Refused),
    /// Client: datagrams with this alias are for that peer.
    Open {
        /// Chosen by the client, not in use.
        alias: u64,
        /// The destination.
        peer: PeerId,
    },
    /// Relay: the alias may be used.
    Opened {
        /// Of OPEN.
        alias: u64,
    },
    /// Client: the alias is used no more.
    Shut {
        /// Of OPEN.
        alias: u64,
    },
    /// Relay: datagrams with this alias are from that peer.
    Sender {
        /// Chosen by the relay, never used before in this session.
        alias: u64,
        /// The sender.
        peer: PeerId,
    },
    /// Client: I know the alias; the long form is needed no more.
    SenderOk {
        /// Of SENDER.
        alias: u64,
    },
    /// Relay: what was sent on this alias did not arrive, or the route is not to be had.
    Notice {
        /// Of OPEN.
        alias: u64,
        /// Why.
        code: NoticeCode,
    },
    /// Client: tell me whether this peer is there, now and at every change.
    Watch {
        /// Whom.
        peer: PeerId,
    },
    /// Client: no more of that.
    Unwatch {
        /// Whom.
        peer: PeerId,
    },
    /// Relay: the watched peer is there, or is not.
    Presence {
        /// Counts the presence frames of this session from 1.
        sequence: u64,
        /// Whom.
        peer: PeerId,
        /// How it is.
        state: PeerState,
    },
    /// Relay: presence frames were dropped. The client watches again what it still wants to know.
    Resync,
    /// Relay: this session must move.
    GoAway(Box<GoAway>),
    /// Client: I know.
    GoAwayAck {
        /// Of GOAWAY.
        sequence: u64,
    },
    /// Relay: stay after all.
    GoAwayCancel {
        /// Of GOAWAY.
        sequence: u64,
    },
    /// Client, on a standby session: my readers run; be my home.
    Active,
    /// Relay: I am.
    ActiveOk {
        /// Under which the peer is announced.
        stamp: Stamp,
    },
    /// Client, on the old session: my home is elsewhere.
    Moved {
        /// Of ACTIVE_OK.
        stamp: Stamp,
        /// The new home.
        relay: RelayId,
    },
    /// Relay: I have told everyone here; what still comes is forwarded.
    MovedOk,
    /// Client, on the old session: the new one failed; be my home again.
    Reclaim {
        /// Of the WELCOME that failed.
        ticket: Bytes,
    },
    /// Relay: I am.
    Reclaimed {
        /// Under which the peer is announced.
        stamp: Stamp,
        /// For a handover or a resume, instead of the earlier ones.
        ticket: Bytes,
    },
    /// Relay: this limit was met. Comes once per limit and session.
    Limited(Limited),
    /// Client: here is a newer access token for this session.
    Renew {
        /// For the same peer, group and pool.
        token: Token,
    },
    /// Relay: it holds from now on.
    Renewed(Renewed),
    /// Relay: it does not; what held before still does.
    RenewRefused(Refused),
    /// Relay: those of HELLO's capabilities that I know too. It comes right after WELCOME, if there are any.
    Capabilities {
        /// Bits, as in HELLO.
        known: u64,
    },
    /// Relay: ids for probes of new paths, in place of those before.
    Probes {
        /// Each is good for one probe.
        ids: Vec<RouteId>,
    },
    /// Client: this is how an attempt to migrate ended.
    PathReport(PathReport),
    /// Relay: the peer at the other end of a route attached anew; poke what runs over it.
    RouteRefreshed {
        /// Which peer.
        peer: PeerId,
    },
    /// Client: who may send to me, of those whom no rule names.
    Policy {
        /// Who.
        mode: PolicyMode,
    },
    /// Client: these may, or may not, whatever that says.
    Rule(Rule),
    /// Relay: what became of a POLICY or a RULE. Answers come in the order of what they answer.
    Ruled(Ruled),
    /// Relay: this peer sent something, and is not let in. What it sent is dropped.
    Knock {
        /// Which peer.
        peer: PeerId,
    },
    /// Relay: a sender that is let in is of another group. It comes before its SENDER.
    Stranger {
        /// The sender.
        peer: PeerId,
    },
}

/// Declares each frame type once: its number, and the name that errors, logs and the documentation use.
macro_rules! frame_types {
    ($($number:literal $constant:ident $name:literal $pattern:pat),+ $(,)?) => {
        mod number {
            $(pub(super) const $constant: u64 = $number;)+
        }

        /// Number and name of every frame type.
        pub const TYPES: &[(u64, &str)] = &[$(($number, $name)),+];

        impl Frame {
            /// Its type on the wire.
            #[must_use]
            pub const fn number(&self) -> u64 {
                match self { $($pattern => $number,)+ }
            }

            /// Its name in the specification.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $($pattern => $name,)+ }
            }
        }
    };
}

frame_types! {
    0x01 HELLO "HELLO" Self::Hello(_),
    0x02 WELCOME "WELCOME" Self::Welcome(_),
    0x03 REFUSED "REFUSED" Self::Refused(_),
    0x04 OPEN "OPEN" Self::Open { .. },
    0x05 OPENED "OPENED" Self::Opened { .. },
    0x06 SHUT "SHUT" Self::Shut { .. },
    0x07 SENDER "SENDER" Self::Sender { .. },
    0x08 SENDER_OK "SENDER_OK" Self::SenderOk { .. },
    0x09 NOTICE "NOTICE" Self::Notice { .. },
    0x0a WATCH "WATCH" Self::Watch { .. },
    0x0b UNWATCH "UNWATCH" Self::Unwatch { .. },
    0x0c PRESENCE "PRESENCE" Self::Presence { .. },
    0x0d RESYNC "RESYNC" Self::Resync,
    0x10 GOAWAY "GOAWAY" Self::GoAway(_),
    0x11 GOAWAY_ACK "GOAWAY_ACK" Self::GoAwayAck { .. },
    0x12 GOAWAY_CANCEL "GOAWAY_CANCEL" Self::GoAwayCancel { .. },
    0x13 ACTIVE "ACTIVE" Self::Active,
    0x14 ACTIVE_OK "ACTIVE_OK" Self::ActiveOk { .. },
    0x15 MOVED "MOVED" Self::Moved { .. },
    0x16 MOVED_OK "MOVED_OK" Self::MovedOk,
    0x17 RECLAIM "RECLAIM" Self::Reclaim { .. },
    0x18 ROUTE_REFRESHED "ROUTE_REFRESHED" Self::RouteRefreshed { .. },
    0x1f RECLAIMED "RECLAIMED" Self::Reclaimed { .. },
    0x41 LIMITED "LIMITED" Self::Limited(_),
    0x42 CAPABILITIES "CAPABILITIES" Self::Capabilities { .. },
    0x43 PROBES "PROBES" Self::Probes { .. },
    0x44 KNOCK "KNOCK" Self::Knock { .. },
    0x45 RULED "RULED" Self::Ruled(_),
    0x46 STRANGER "STRANGER" Self::Stranger { .. },
    0x50 RENEW "RENEW" Self::Renew { .. },
    0x51 RENEWED "RENEWED" Self::Renewed(_),
    0x52 RENEW_REFUSED "RENEW_REFUSED" Self::RenewRefused(_),
    0x53 PATH_REPORT "PATH_REPORT" Self::PathReport(_),
    0x54 POLICY "POLICY" Self::Policy { .. },
    0x55 RULE "RULE" Self::Rule(_),
}

impl Frame {
    /// The frame as it goes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        self.write_body(&mut body);
        let mut out = BytesMut::with_capacity(body.len() + 10);
        varint::write(self.number(), &mut out);
        put_bytes(&body, &mut out);
        out.freeze()
    }

    fn write_body(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => hello.write(out),
            Self::Welcome(welcome) => welcome.write(out),
            Self::Refused(refused) | Self::RenewRefused(refused) => refused.write(out),
            Self::Renew { token } => put_bytes(&token.0, out),
            Self::Renewed(renewed) => renewed.write(out),
            Self::Limited(limited) => limited.write(out),
            Self::Open { alias, peer } | Self::Sender { alias, peer } => {
                varint::write(*alias, out);
                out.put_slice(peer.as_bytes());
            }
            Self::Opened { alias } | Self::Shut { alias } | Self::SenderOk { alias } => {
                varint::write(*alias, out)
            }
            Self::Notice { alias, code } => {
                varint::write(*alias, out);
                out.put_u8(code.number());
            }
            Self::Watch { peer }
            | Self::Unwatch { peer }
            | Self::RouteRefreshed { peer }
            | Self::Knock { peer }
            | Self::Stranger { peer } => out.put_slice(peer.as_bytes()),
            Self::Presence { sequence, peer, state } => {
                varint::write(*sequence, out);
                out.put_slice(peer.as_bytes());
                out.put_u8(state.number());
            }
            Self::GoAway(goaway) => goaway.write(out),
            Self::GoAwayAck { sequence } | Self::GoAwayCancel { sequence } => {
                varint::write(*sequence, out)
            }
            Self::Capabilities { known } => varint::write(*known, out),
            Self::Probes { ids } => write_route_ids(ids, out),
            Self::PathReport(report) => report.write(out),
            Self::Policy { mode } => out.put_u8(mode.number()),
            Self::Rule(rule) => rule.write(out),
            Self::Ruled(ruled) => ruled.write(out),
            Self::ActiveOk { stamp } => out.put_u64(stamp.as_u64()),
            Self::Moved { stamp, relay } => {
                out.put_u64(stamp.as_u64());
                out.put_u32(relay.as_u32());
            }
            Self::Reclaim { ticket } => put_bytes(ticket, out),
            Self::Reclaimed { stamp, ticket } => {
                out.put_u64(stamp.as_u64());
                put_bytes(ticket, out);
            }
            Self::Resync | Self::Active | Self::MovedOk => {}
        }
    }

    /// Reads the body of a frame of type `number`; `None` if the type is unknown and may be skipped.
    fn read(number: u64, body: Bytes) -> Result<Option<Self>, FrameError> {
        let Some((_, name)) = TYPES.iter().find(|(known, _)| *known == number) else {
            return if number >= FIRST_SKIPPABLE {
                Ok(None)
            } else {
                Err(FrameError::Unknown { number })
            };
        };
        let mut reader = Reader::new(body);
        let frame = Self::read_body(number, &mut reader);
        let frame = frame.and_then(|frame| reader.end().map(|()| frame));
        frame.map(Some).map_err(|source| FrameError::Body { name, source })
    }

    fn read_body(number: u64, body: &mut Reader) -> Result<Self, WireError> {
        Ok(match number {
            number::HELLO => Self::Hello(Box::new(Hello::read(body)?)),
            number::WELCOME => Self::Welcome(Box::new(Welcome::read(body)?)),
            number::REFUSED => Self::Refused(Refused::read(body)?),
            number::OPEN => Self::Open { alias: alias(body)?, peer: peer(body)? },
            number::OPENED => Self::Opened { alias: alias(body)? },
            number::SHUT => Self::Shut { alias: alias(body)? },
            number::SENDER => Self::Sender { alias: alias(body)?, peer: peer(body)? },
            number::SENDER_OK => Self::SenderOk { alias: alias(body)? },
            number::NOTICE => Self::Notice { alias: alias(body)?, code: NoticeCode::read(body)? },
            number::WATCH => Self::Watch { peer: peer(body)? },
            number::UNWATCH => Self::Unwatch { peer: peer(body)? },
            number::PRESENCE => Self::Presence {
                sequence: body.varint("sequence")?,
                peer: peer(body)?,
                state: PeerState::read(body)?,
            },
            number::RESYNC => Self::Resync,
            number::GOAWAY => Self::GoAway(Box::new(GoAway::read(body)?)),
            number::GOAWAY_ACK => Self::GoAwayAck { sequence: body.varint("sequence")? },
            number::GOAWAY_CANCEL => Self::GoAwayCancel { sequence: body.varint("sequence")? },
            number::ACTIVE => Self::Active,
            number::ACTIVE_OK => Self::ActiveOk { stamp: stamp(body)? },
            number::MOVED => {
                Self::Moved { stamp: stamp(body)?, relay: RelayId::from_u32(body.u32("relay")?) }
            }
            number::MOVED_OK => Self::MovedOk,
            number::RECLAIM => Self::Reclaim { ticket: body.bytes("ticket", MAX_TICKET)? },
            number::RECLAIMED => {
                Self::Reclaimed { stamp: stamp(body)?, ticket: body.bytes("ticket", MAX_TICKET)? }
            }
            number::ROUTE_REFRESHED => Self::RouteRefreshed { peer: peer(body)? },
            number::CAPABILITIES => Self::Capabilities { known: body.varint("capabilities")? },
            number::LIMITED => Self::Limited(Limited::read(body)?),
            number::PROBES => Self::Probes { ids: read_route_ids(body)? },
            number::PATH_REPORT => Self::PathReport(PathReport::read(body)?),
            number::KNOCK => Self::Knock { peer: peer(body)? },
            number::RULED => Self::Ruled(Ruled::read(body)?),
            number::STRANGER => Self::Stranger { peer: peer(body)? },
            number::RENEW => Self::Renew { token: Token::read(body)? },
            number::RENEWED => Self::Renewed(Renewed::read(body)?),
            number::RENEW_REFUSED => Self::RenewRefused(Refused::read(body)?),
            number::POLICY => Self::Policy { mode: PolicyMode::read(body)? },
            number::RULE => Self::Rule(Rule::read(body)?),
            _ => return Err(WireError::Value { field: "type" }),
        })
    }
}

fn alias(body: &mut Reader) -> Result<u64, WireError> {
    let alias = body.varint("alias")?;
    match alias {
        crate::datagram::FIRST_ALIAS..=crate::datagram::LAST_ALIAS => Ok(alias),
        _ => Err(WireError::Value { field: "alias" }),
    }
}

fn peer(body: &mut Reader) -> Result<PeerId, WireError> {
    body.array("peer").map(PeerId::from_bytes)
}

fn stamp(body: &mut Reader) -> Result<Stamp, WireError> {
    body.u64("stamp").map(Stamp::from_u64)
}

fn read_route_ids(body: &mut Reader) -> Result<Vec<RouteId>, WireError> {
    let count = body.count("number of route ids", MAX_ROUTE_IDS)?;
    (0..count).map(|_| body.array("route id")).collect()
}

fn write_route_ids(ids: &[RouteId], out: &mut BytesMut) {
    let ids = &ids[..ids.len().min(MAX_ROUTE_IDS)];
    varint::write(ids.len() as u64, out);
    for id in ids {
        out.put_slice(id);
    }
}

#[cfg(test)]
mod tests;
