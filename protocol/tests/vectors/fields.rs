//! A frame's fields as the vectors write them, under the names that docs/protocol.md gives them: whole numbers for single
//! bytes, varints and durations (milliseconds); hexadecimal for all other bytes; text for text and addresses.

use std::time::Duration;

use baton_protocol::class::FailureClass;
use baton_protocol::frame::{Frame, Retry, Ruled};
use serde_json::{Map, Value, json};

use crate::hex;

/// The fields of a frame. A new frame does not compile until it says its own.
pub(crate) fn of(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => json!({
            "intent": hello.intent.number(),
            "peer": hex(hello.peer.as_bytes()),
            "instance": hex(hello.instance.as_bytes()),
            "capabilities": hello.capabilities,
            "token": hex(&hello.token),
            "ticket": hex(&hello.ticket),
            "signature": hex(hello.signature),
        }),
        Frame::Welcome(welcome) => json!({
            "session": u64_hex(welcome.session.as_u64()),
            "relay": hex(welcome.relay.as_u32().to_be_bytes()),
            "epoch": hex(welcome.epoch.to_be_bytes()),
            "stamp": u64_hex(welcome.stamp.as_u64()),
            "observed": welcome.observed.to_string(),
            "max_datagram": welcome.max_datagram,
            "max_routes": welcome.max_routes,
            "max_watches": welcome.max_watches,
            "idle": milliseconds(welcome.idle),
            "keep_alive": milliseconds(welcome.keep_alive),
            "ticket": hex(&welcome.ticket),
            "route ids": welcome.route_ids.iter().map(hex).collect::<Vec<_>>(),
        }),
        Frame::Refused(refused) | Frame::RenewRefused(refused) => {
            let mut fields = Map::new();
            fields.insert("code".into(), refused.code.number().into());
            let (retry, delay) = match refused.retry {
                Retry::Never => (0, None),
                Retry::After(delay) => (1, Some(delay)),
                Retry::Fresh => (2, None),
            };
            fields.insert("retry".into(), retry.into());
            if let Some(delay) = delay {
                fields.insert("delay".into(), milliseconds(delay));
            }
            fields.insert("message".into(), refused.message.clone().into());
            fields.into()
        }
        Frame::Open { alias, peer } | Frame::Sender { alias, peer } => {
            json!({"alias": alias, "peer": hex(peer.as_bytes())})
        }
        Frame::Opened { alias } | Frame::Shut { alias } | Frame::SenderOk { alias } => {
            json!({"alias": alias})
        }
        Frame::Notice { alias, code } => json!({"alias": alias, "code": code.number()}),
        Frame::Watch { peer }
        | Frame::Unwatch { peer }
        | Frame::RouteRefreshed { peer }
        | Frame::Knock { peer }
        | Frame::Stranger { peer } => json!({"peer": hex(peer.as_bytes())}),
        Frame::Presence { sequence, peer, state } => {
            json!({"sequence": sequence, "peer": hex(peer.as_bytes()), "state": state.number()})
        }
        Frame::Resync | Frame::Active | Frame::MovedOk => json!({}),
        Frame::GoAway(goaway) => json!({
            "sequence": goaway.sequence,
            "reason": goaway.reason.number(),
            "deadline": milliseconds(goaway.deadline),
            "reconnect_after": milliseconds(goaway.reconnect_after),
            "route ids": goaway.route_ids.iter().map(hex).collect::<Vec<_>>(),
            "ticket": hex(&goaway.ticket),
        }),
        Frame::GoAwayAck { sequence } | Frame::GoAwayCancel { sequence } => {
            json!({"sequence": sequence})
        }
        Frame::Reclaimed { stamp, ticket } => {
            json!({"stamp": u64_hex(stamp.as_u64()), "ticket": hex(ticket)})
        }
        Frame::Capabilities { known } => json!({"capabilities": known}),
        Frame::ActiveOk { stamp } => json!({"stamp": u64_hex(stamp.as_u64())}),
        Frame::Moved { stamp, relay } => {
            json!({"stamp": u64_hex(stamp.as_u64()), "relay": hex(relay.as_u32().to_be_bytes())})
        }
        Frame::Limited(limited) => {
            json!({"kind": limited.kind.number(), "allowed": limited.allowed})
        }
        Frame::Probes { ids } => json!({"probe ids": ids.iter().map(hex).collect::<Vec<_>>()}),
        Frame::PathReport(report) => json!({
            "attempt": report.attempt,
            "class": report.failed.map_or(0, FailureClass::number),
            "took": milliseconds(report.took),
        }),
        Frame::Policy { mode } => json!({"mode": mode.number()}),
        Frame::Rule(rule) => json!({
            "verb": rule.verb.number(),
            "peers": rule.peers.iter().map(|peer| hex(peer.as_bytes())).collect::<Vec<_>>(),
        }),
        Frame::Ruled(Ruled::Kept) => json!({"result": 0}),
        Frame::Ruled(Ruled::TooMany { allowed }) => json!({"result": 1, "allowed": allowed}),
        Frame::Renew { token } => json!({"token": hex(&token.0)}),
        Frame::Renewed(renewed) => {
            json!({"expires": u64_hex(renewed.expires_unix), "ticket": hex(&renewed.ticket)})
        }
        Frame::Reclaim { ticket } => json!({"ticket": hex(ticket)}),
    }
}

fn u64_hex(number: u64) -> String {
    hex(number.to_be_bytes())
}

fn milliseconds(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap().into()
}
