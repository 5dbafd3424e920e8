//! `datagrams.json`: every form of a datagram, and what is dropped.

use baton_protocol::datagram::{
    Datagram, DatagramError, FIRST_ALIAS, LAST_ALIAS, MAX_PAYLOAD, PADDED, aliased, echo,
    echo_reply, long, path_confirm, path_confirmed,
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{compare, hex, peer};

const NONCE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// The fields of a datagram; a new form does not compile until it says its own, and `forms` fails until it has an example.
fn fields(datagram: &Datagram) -> (&'static str, Value) {
    match datagram {
        Datagram::Aliased { alias, payload } => {
            ("aliased", json!({"alias": alias, "payload": hex(payload)}))
        }
        Datagram::Long { sender, payload } => {
            ("long", json!({"sender": hex(sender.as_bytes()), "payload": hex(payload)}))
        }
        Datagram::Echo { nonce } => ("echo", json!({"nonce": hex(nonce)})),
        Datagram::EchoReply { nonce } => ("echo_reply", json!({"nonce": hex(nonce)})),
        Datagram::PathConfirm { attempt, nonce } => {
            ("path_confirm", json!({"attempt": hex(attempt.to_be_bytes()), "nonce": hex(nonce)}))
        }
        Datagram::PathConfirmed { attempt } => {
            ("path_confirmed", json!({"attempt": hex(attempt.to_be_bytes())}))
        }
    }
}

fn examples() -> Vec<(&'static str, Bytes)> {
    let padded = [&echo(NONCE)[..], &[0; 3]].concat();
    vec![
        ("on a route", aliased(FIRST_ALIAS, b"hello")),
        ("without payload", aliased(FIRST_ALIAS, b"")),
        ("an alias of two bytes", aliased(64, b"hello")),
        ("the largest alias", aliased(LAST_ALIAS, b"hello")),
        ("long form", long(peer().prefix(), b"hello")),
        ("long form without payload", long(peer().prefix(), b"")),
        ("the longest there is", long(peer().prefix(), &[0x5a; MAX_PAYLOAD])),
        ("ECHO", echo(NONCE)),
        ("ECHO, padded: what follows the nonce is ignored", padded.into()),
        ("ECHO_REPLY of the smallest size", echo_reply(NONCE, 0)),
        ("ECHO_REPLY of 1150 bytes", echo_reply(NONCE, PADDED)),
        ("PATH_CONFIRM before the relay has asked", path_confirm(7, [0; 8], 0)),
        ("PATH_CONFIRM of 1150 bytes", path_confirm(7, NONCE, PADDED)),
        ("PATH_CONFIRMED", path_confirmed(7)),
        ("a long form of the alias: readers take any varint", Bytes::from_static(b"\x40\x10hello")),
    ]
}

#[test]
fn the_datagrams_are_these() {
    let datagrams: Vec<_> = examples()
        .iter()
        .map(|(what, bytes)| {
            let (form, fields) = fields(&Datagram::decode(bytes).unwrap());
            json!({"what": what, "bytes": hex(bytes), "form": form, "fields": fields})
        })
        .collect();
    let mistakes: [(&str, &[u8]); 11] = [
        ("nothing", &[]),
        ("half an alias", &[0x40]),
        ("long form without its sender", &[0]),
        ("long form with 15 bytes of it", &[0; 16]),
        ("ECHO with 7 bytes of nonce", &[1; 8]),
        ("ECHO_REPLY with 7 bytes of nonce", &[2; 8]),
        ("PATH_CONFIRM with 15 bytes of attempt and nonce", &[3; 16]),
        ("PATH_CONFIRMED with 7 bytes of attempt", &[4; 8]),
        ("the smallest reserved alias", &[5, 0, 0]),
        ("the largest reserved alias", &[15]),
        ("an alias of 2^30", &[0xc0, 0, 0, 0, 0x40, 0, 0, 0, 1]),
    ];
    let dropped = mistakes.map(|(what, bytes)| {
        let error = match Datagram::decode(&Bytes::copy_from_slice(bytes)).expect_err(what) {
            DatagramError::Short => "short",
            DatagramError::Reserved(_) => "reserved",
        };
        json!({"what": what, "bytes": hex(bytes), "error": error})
    });
    compare(
        "datagrams.json",
        &json!({
            "about": "Datagrams: docs/protocol.md, sections 9 and 13",
            "datagrams": datagrams,
            "dropped": dropped,
        }),
    );
}

#[test]
fn every_form_has_an_example() {
    let forms: std::collections::BTreeSet<_> =
        examples().iter().map(|(_, bytes)| fields(&Datagram::decode(bytes).unwrap()).0).collect();
    assert_eq!(forms.len(), 6, "{forms:?}");
}
