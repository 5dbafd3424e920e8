//! `hello.json`: what a client signs, step by step, and signatures that are none.

use baton_protocol::frame::{Frame, Hello, Intent};
use baton_protocol::hello::{
    EXPORTER_LABEL, EXPORTER_LENGTH, exporter_context, peer_of, sign, signature_input, verify,
};
use baton_protocol::id::{Instance, PeerId};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::{compare, hex};

/// What the TLS connection of the examples exports. A real one depends on the connection and on the context.
const EXPORTED: [u8; EXPORTER_LENGTH] = [0x2a; EXPORTER_LENGTH];

/// The order of the group of Ed25519, little-endian: adding it to a signature's second half makes another that a careless
/// verifier takes too.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn signed(seed: u8, intent: Intent, token: &'static [u8], ticket: &'static [u8]) -> Hello {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let mut hello = Hello {
        intent,
        peer: peer_of(&key),
        instance: Instance::from_bytes([0xaa; 16]),
        capabilities: 0,
        token: Bytes::from_static(token),
        ticket: Bytes::from_static(ticket),
        signature: [0; 64],
    };
    sign(&mut hello, &key, &EXPORTED);
    hello
}

fn example(what: &str, seed: u8, hello: &Hello) -> Value {
    assert_eq!(verify(hello, &EXPORTED), Ok(()));
    json!({
        "what": what,
        "secret_key": hex([seed; 32]),
        "peer": hex(hello.peer.as_bytes()),
        "unsigned": hex(hello.unsigned()),
        "exporter_context": hex(exporter_context(hello)),
        "exported": hex(EXPORTED),
        "signed": hex(signature_input(&EXPORTED)),
        "signature": hex(hello.signature),
        "frame": hex(Frame::Hello(Box::new(hello.clone())).encode()),
    })
}

fn mistakes() -> Vec<(&'static str, Hello, [u8; 32])> {
    let good = signed(1, Intent::Fresh, b"token", b"");
    let other_peer = Hello { peer: peer_of(&SigningKey::from_bytes(&[9; 32])), ..good.clone() };
    let mut flipped = good.clone();
    flipped.signature[0] ^= 1;
    let mut malleable = good.clone();
    let mut carry = 0_u16;
    for (byte, order) in malleable.signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let mut small_order = good.clone();
    // The neutral element as key and as R, and 0 as S: true for every message, without a secret.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    small_order.peer = PeerId::from_bytes(neutral);
    small_order.signature = [0; 64];
    small_order.signature[0] = 1;
    vec![
        ("of another connection: it exports something else", good, [0x2b; 32]),
        ("of another key", other_peer, EXPORTED),
        ("with one bit changed", flipped, EXPORTED),
        ("with the group's order added to its second half", malleable, EXPORTED),
        ("of a key of small order", small_order, EXPORTED),
    ]
}

#[test]
fn what_is_signed_is_this() {
    let examples = [
        example("fresh, with a token", 1, &signed(1, Intent::Fresh, b"token", b"")),
        example("fresh, to an open pool", 2, &signed(2, Intent::Fresh, b"", b"")),
        example("handover, with a ticket", 1, &signed(1, Intent::Handover, b"", b"ticket")),
        example("resume, with a ticket", 3, &signed(3, Intent::Resume, b"", b"ticket")),
    ];
    let mistakes: Vec<_> = mistakes()
        .iter()
        .map(|(what, hello, exported)| {
            assert!(verify(hello, exported).is_err(), "{what}");
            let frame = hex(Frame::Hello(Box::new(hello.clone())).encode());
            json!({"what": what, "exported": hex(exported), "frame": frame, "error": "bad_signature"})
        })
        .collect();
    compare(
        "hello.json",
        &json!({
            "about": "The signature of HELLO: docs/protocol.md, section 6. `exported` stands for what TLS exports with `exporter_context`",
            "exporter_label": String::from_utf8(EXPORTER_LABEL.to_vec()).unwrap(),
            "examples": examples,
            "refused": mistakes,
        }),
    );
}
