//! `varints.json`: numbers of every length, shortest and not, and what is cut short.

use baton_protocol::varint;
use serde_json::json;

use crate::{compare, hex};

/// Both sides of each length, and the examples of RFC 9000 appendix A.1.
const NUMBERS: [u64; 13] = [
    0,
    37,
    63,
    64,
    15_293,
    16_383,
    16_384,
    494_878_333,
    (1 << 30) - 1,
    1 << 30,
    (1 << 53) + 1,
    151_288_809_941_952_652,
    varint::MAX,
];

#[test]
fn the_varints_are_these() {
    let shortest: Vec<_> = NUMBERS
        .iter()
        .map(|number| {
            let mut bytes = Vec::new();
            varint::write(*number, &mut bytes);
            assert_eq!(varint::read(&bytes), Some((*number, bytes.len())));
            // As text: not every reader of JSON has whole numbers of 62 bits.
            json!({"bytes": hex(bytes), "value": number.to_string()})
        })
        .collect();
    let longer =
        [("4025", 37), ("80000025", 37), ("c000000000000025", 37), ("c000000000000000", 0)].map(
            |(bytes, value): (&str, u64)| {
                let raw = data_encoding::HEXLOWER.decode(bytes.as_bytes()).unwrap();
                assert_eq!(varint::read(&raw), Some((value, raw.len())));
                json!({"bytes": bytes, "value": value.to_string()})
            },
        );
    let cut = ["", "40", "800000", "c0000000000000"];
    for bytes in cut {
        assert_eq!(varint::read(&data_encoding::HEXLOWER.decode(bytes.as_bytes()).unwrap()), None);
    }
    compare(
        "varints.json",
        &json!({
            "about": "Variable-length integers: docs/protocol.md, section 3, and RFC 9000 section 16",
            "shortest": shortest,
            "longer": longer,
            "cut": cut,
        }),
    );
}
