//! The test vectors of docs/protocol.md: `protocol/vectors/*.json`, for whoever writes a client in another language.
//!
//! They are made here, from this code, and kept in files: a change of the files is a change of the protocol.
//! `BATON_BLESS=1 cargo test -p baton-protocol --test vectors` writes them anew; then run it again without. To add a frame, add an example of it to
//! [`frames::examples`] and say its fields in [`fields::of`]; a frame without one fails. What the files say is checked a second
//! time by `tests/vectors/check.py`, which knows docs/protocol.md and not this code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod datagrams;
mod fields;
mod frames;
mod hello;
mod independent;
mod numbers;
mod peers;
mod probes;
mod tokens;
mod varints;

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::Value;

/// The peer of most examples: bytes 0 to 31.
fn peer() -> baton_protocol::id::PeerId {
    baton_protocol::id::PeerId::from_bytes(std::array::from_fn(|i| i as u8))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().expect("a text").as_bytes()).expect("hexadecimal")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Compares what this code makes with the file, or writes the file where that is asked for.
fn compare(name: &str, made: &Value) {
    let path = folder().join(name);
    let text = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("BATON_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let line = kept.lines().zip(text.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == text,
        "protocol/vectors/{name} is not what this code makes, from line {} on. If the protocol is meant to change: \
         BATON_BLESS=1 cargo test -p baton-protocol --test vectors, docs/protocol.md, and CHANGELOG.md",
        line.map_or(1, |line| line + 1)
    );
}

#[test]
fn no_file_is_left_over() {
    let known = [
        "datagrams.json",
        "frames.json",
        "hello.json",
        "numbers.json",
        "peers.json",
        "probes.json",
        "tokens.json",
        "varints.json",
    ];
    for file in std::fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&&*name), "nothing makes protocol/vectors/{name}: remove it");
    }
}
