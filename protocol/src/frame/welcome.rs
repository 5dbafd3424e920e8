//! WELCOME and REFUSED: the answers to HELLO.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_TICKET, RouteId, read_route_ids, write_route_ids};
use crate::id::{RelayId, SessionId, Stamp};
use crate::varint;
use crate::wire::{Reader, WireError, put_bytes};

/// The session exists; these are its terms.
#[derive(Clone, PartialEq, Eq)]
pub struct Welcome {
    /// As the relay numbers it.
    pub session: SessionId,
    /// The relay.
    pub relay: RelayId,
    /// The relay's epoch, 24 bits: how often it was started.
    pub epoch: u32,
    /// Of this attachment.
    pub stamp: Stamp,
    /// Where the client's packets come from, as the relay sees it.
    pub observed: SocketAddr,
    /// The most bytes of payload in a datagram.
    pub max_datagram: u64,
    /// The most routes that may be open at a time.
    pub max_routes: u64,
    /// The most peers that may be watched at a time.
    pub max_watches: u64,
    /// Nothing heard for so long ends the session (whole milliseconds).
    pub idle: Duration,
    /// The client sends something at least this often (whole milliseconds).
    pub keep_alive: Duration,
    /// For a handover or a resume from this session.
    pub ticket: Bytes,
    /// Ways to this relay and its siblings; empty where the relays cannot steer.
    pub route_ids: Vec<RouteId>,
}

impl std::fmt::Debug for Welcome {
    /// Without the ticket, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("session", &self.session)
            .field("relay", &self.relay)
            .field("stamp", &self.stamp)
            .field("observed", &self.observed)
            .finish_non_exhaustive()
    }
}

impl Welcome {
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u64(self.session.as_u64());
        out.put_u32(self.relay.as_u32());
        out.put_u32(self.epoch);
        out.put_u64(self.stamp.as_u64());
        write_address(self.observed, out);
        varint::write(self.max_datagram, out);
        varint::write(self.max_routes, out);
        varint::write(self.max_watches, out);
        write_duration(self.idle, out);
        write_duration(self.keep_alive, out);
        put_bytes(&self.ticket, out);
        write_route_ids(&self.route_ids, out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId::from_u64(body.u64("session")?),
            relay: RelayId::from_u32(body.u32("relay")?),
            epoch: body.u32("epoch")?,
            stamp: Stamp::from_u64(body.u64("stamp")?),
            observed: read_address(body)?,
            max_datagram: body.varint("datagram size")?,
            max_routes: body.varint("number of routes")?,
            max_watches: body.varint("number of watches")?,
            idle: read_duration(body, "idle timeout")?,
            keep_alive: read_duration(body, "keep-alive")?,
            ticket: body.bytes("ticket", MAX_TICKET)?,
            route_ids: read_route_ids(body)?,
        })
    }
}

/// Declares the codes of an enum that travels as one byte.
macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),+ $(,)?) => {
        /// Why a client is not let in.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum RefusalCode {
            $($(#[$doc])* $variant,)+
        }

        impl RefusalCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The byte on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),+ }
            }

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

refusal_codes! {
    /// The signature is not that of the peer over this connection.
    BadSignature = 1 "bad_signature",
    /// The pool demands an access token.
    TokenRequired = 2 "token_required",
    /// The access token is not one that this pool accepts.
    TokenInvalid = 3 "token_invalid",
    /// The access token has expired, or is not valid yet.
    TokenExpired = 4 "token_expired",
    /// The ticket is not one that this pool gave to this peer and instance, or has expired.
    TicketInvalid = 5 "ticket_invalid",
    /// The relay is going away itself.
    Draining = 6 "draining",
    /// The relay has as many sessions as it may have.
    Full = 7 "full",
    /// Something broke in the relay.
    Internal = 8 "internal",
    /// The peer is not on the pool's allowlist.
    NotAllowed = 9 "not_allowed",
    /// A session asks more often than it may.
    TooSoon = 10 "too_soon",
}

/// Whether a refused client should come back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Not with what it has: someone must change something first.
    Never,
    /// After so long (whole milliseconds), from a new port.
    After(Duration),
    /// At once, fresh, with its token instead of a ticket.
    Fresh,
}

/// The session does not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub code: RefusalCode,
    /// What to do.
    pub retry: Retry,
    /// For people: what is wrong with what, at most 256 bytes.
    pub message: String,
}

/// The longest message of a [`Refused`], in bytes.
const MAX_MESSAGE: usize = 256;

impl Refused {
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.code.number());
        match self.retry {
            Retry::Never => out.put_u8(0),
            Retry::After(delay) => {
                out.put_u8(1);
                write_duration(delay, out);
            }
            Retry::Fresh => out.put_u8(2),
        }
        let end = (0..=self.message.len().min(MAX_MESSAGE))
            .rev()
            .find(|end| self.message.is_char_boundary(*end));
        put_bytes(&self.message.as_bytes()[..end.unwrap_or(0)], out);
    }

    pub(super) fn read(body: &mut Reader) -> Result<Self, WireError> {
        let number = body.u8("code")?;
        let code = RefusalCode::ALL.iter().find(|code| code.number() == number);
        Ok(Self {
            code: *code.ok_or(WireError::Value { field: "code" })?,
            retry: match body.u8("retry")? {
                0 => Retry::Never,
                1 => Retry::After(read_duration(body, "delay")?),
                2 => Retry::Fresh,
                _ => return Err(WireError::Value { field: "retry" }),
            },
            message: body.text("message", MAX_MESSAGE)?,
        })
    }
}

/// Writes an address. One of IPv4 is that, even if a dual-stack socket shows it as one of IPv6.
pub(crate) fn write_address(address: SocketAddr, out: &mut BytesMut) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(address.port());
}

/// Reads one. What another end wrote as a mapped one is one of IPv4, too.
pub(crate) fn read_address(body: &mut Reader) -> Result<SocketAddr, WireError> {
    let ip = match body.u8("address family")? {
        4 => IpAddr::from(body.array::<4>("address")?),
        6 => IpAddr::from(body.array::<16>("address")?),
        _ => return Err(WireError::Value { field: "address family" }),
    };
    Ok(SocketAddr::new(ip.to_canonical(), body.u16("port")?))
}

/// The longest duration on the wire: about 12 days. Longer ones mean that someone meant something else.
const MAX_DURATION_MS: u64 = 1 << 30;

pub(crate) fn write_duration(duration: Duration, out: &mut BytesMut) {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(MAX_DURATION_MS);
    varint::write(milliseconds.min(MAX_DURATION_MS), out);
}

pub(crate) fn read_duration(body: &mut Reader, field: &'static str) -> Result<Duration, WireError> {
    match body.varint(field)? {
        milliseconds if milliseconds <= MAX_DURATION_MS => Ok(Duration::from_millis(milliseconds)),
        _ => Err(WireError::Value { field }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_read_as_the_one_of_ipv4_that_it_is() {
        let ip: std::net::Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        let written = [&[6][..], &ip.octets(), &[0, 5]].concat();
        let read = read_address(&mut Reader::new(written.into())).unwrap();
        assert_eq!(read.to_string(), "192.0.2.1:5");
        let mut again = BytesMut::new();
        write_address(read, &mut again);
        assert_eq!(&again[..], [4, 192, 0, 2, 1, 0, 5]);
    }
}
