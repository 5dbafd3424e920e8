//! `probes.json`: replies to probes, with what they say.

use baton_protocol::frame::RouteId;
use baton_protocol::id::RelayId;
use baton_protocol::path::probe::{LENGTH, MARK, Reply, read_reply, reply};
use serde_json::json;

use crate::{compare, hex};

fn id() -> RouteId {
    std::array::from_fn(|i| if i == 0 { MARK } else { i as u8 })
}

#[test]
fn the_replies_are_these() {
    let replies = ["192.0.2.1:4443", "[2001:db8::1]:65535"].map(|observed| {
        let said =
            Reply { ingress: RelayId::from_u32(0xdead_beef), observed: observed.parse().unwrap() };
        let bytes = reply(&id(), &said);
        assert_eq!(read_reply(&bytes), Some((id(), said)));
        let ingress = hex(said.ingress.as_u32().to_be_bytes());
        json!({"probe id": hex(id()), "ingress": ingress, "observed": observed, "bytes": hex(bytes)})
    });
    // Good but for one thing, so that it is this that a reader must see.
    let observed = "192.0.2.1:4443".parse().unwrap();
    let whole = reply(&id(), &Reply { ingress: RelayId::from_u32(0xdead_beef), observed });
    let long_header = [&[0xc0], &whole[1..]].concat();
    let long = [&whole[..], &[0]].concat();
    let others = [
        ("one byte short", &whole[..LENGTH - 1]),
        ("one byte long", &long),
        ("a long header", &long_header),
    ];
    let others = others.map(|(what, bytes)| {
        assert_eq!(read_reply(bytes), None);
        json!({"what": what, "bytes": hex(bytes)})
    });
    compare(
        "probes.json",
        &json!({
            "about": "Replies to probes: docs/protocol.md, section 13",
            "replies": replies,
            "not replies": others,
        }),
    );
}
