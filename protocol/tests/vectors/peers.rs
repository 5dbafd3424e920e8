//! `peers.json`: peer ids as text, and texts that are none.

use baton_protocol::id::{PeerId, RelayId};
use serde_json::json;

use crate::{compare, hex, peer};

#[test]
fn the_texts_of_peer_ids_are_these() {
    let peers = [peer(), PeerId::from_bytes([0; 32]), PeerId::from_bytes([0xff; 32])].map(|peer| {
        let text = peer.to_string();
        assert_eq!(text.parse(), Ok(peer));
        json!({"bytes": hex(peer.as_bytes()), "text": text, "prefix": hex(peer.prefix().as_bytes())})
    });
    let text = peer().to_string();
    let also_read = [text.to_uppercase(), text.replace('y', "Y")].map(|text| {
        assert_eq!(text.parse(), Ok(peer()));
        json!({"text": text, "bytes": hex(peer().as_bytes())})
    });
    let refused = [
        ("nothing", String::new()),
        ("a letter too few", text[1..].to_owned()),
        ("a letter too many", format!("{text}a")),
        ("padding", format!("{text}====")),
        ("a digit that base32 does not have", text.replace('y', "1")),
        ("a space", text.replacen('a', " ", 1)),
        ("bits behind the last byte", format!("{}r", &text[..51])),
        ("a letter that is two bytes", text.replacen('a', "ä", 1)),
    ]
    .map(|(what, text)| {
        assert!(text.parse::<PeerId>().is_err(), "{what}");
        json!({"what": what, "text": text})
    });
    let uid = "0b5e6b22-3c63-4e1f-9c5c-3a1a6a1a0001";
    let relay = json!({"pod_uid": uid, "relay": hex(RelayId::of_pod(uid).as_u32().to_be_bytes())});
    compare(
        "peers.json",
        &json!({
            "about": "Peer ids as text, and relay ids: docs/protocol.md, section 3",
            "peers": peers,
            "also_read": also_read,
            "refused": refused,
            "relays": [relay],
        }),
    );
}
