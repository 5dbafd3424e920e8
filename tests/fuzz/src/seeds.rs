//! Inputs to begin with: what docs/protocol.md's test vectors have for a target, in the form that the target takes.

use baton_protocol::frame::TYPES;
use baton_protocol::id::{Instance, PeerId, Stamp};
use baton_protocol::ticket::Ticket;
use baton_protocol::{hello, varint};
use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use serde_json::Value;

const FRAMES: &str = include_str!("../../../protocol/vectors/frames.json");
const DATAGRAMS: &str = include_str!("../../../protocol/vectors/datagrams.json");
const PROBES: &str = include_str!("../../../protocol/vectors/probes.json");
const HELLO: &str = include_str!("../../../protocol/vectors/hello.json");
const TOKENS: &str = include_str!("../../../protocol/vectors/tokens.json");
const PEERS: &str = include_str!("../../../protocol/vectors/peers.json");

const FLAGS: [&str; 3] = [
    r#"{"id":"u-1","graceSeconds":60,"reason":"scale-down","maxSessionsPerSecond":500}"#,
    r#"{"id":"","graceSeconds":90000,"reason":"closing"}"#,
    "\n",
];

const PROFILES: [&str; 2] = [
    r#"{"addresses":["192.0.2.1:443","[2001:db8::1]:443"],"serverName":"edge.ns.baton.internal","audience":"ns/edge","ca":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n","token":"abc"}"#,
    r#"{"addresses":["h:0"],"serverName":"","audience":"edge","ca":"","token":"a","tokenFile":"b"}"#,
];

/// The seeds of a target.
///
/// # Panics
/// If a vector is not as `protocol/tests/vectors` writes it.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let frames = || bytes_of(FRAMES, &["frames", "long_forms", "errors", "skipped"]);
    match target {
        "frames" => frames().iter().map(|bytes| [&[1], &bytes[..]].concat()).collect(),
        "bodies" => frames().iter().filter_map(|bytes| body(bytes)).collect(),
        "datagrams" => bytes_of(DATAGRAMS, &["datagrams", "dropped"]),
        "probes" => bytes_of(PROBES, &["replies", "not replies"])
            .iter()
            .map(|bytes| [&[1], &bytes[..]].concat())
            .collect(),
        "hello" => {
            let mut seeds = texts_of(HELLO, &["examples", "refused"], "frame");
            seeds.extend(texts_of(FRAMES, &["errors"], "bytes"));
            seeds.iter().map(|hex| [&[0], &unhex(hex)[..]].concat()).collect()
        }
        "tokens" => {
            let tokens = texts_of(TOKENS, &["admitted", "refused"], "token");
            let claims = parse(TOKENS)["admitted"].as_array().cloned().unwrap_or_default();
            let claims = claims.iter().map(|vector| vector["claims"].to_string());
            let as_claims = claims.map(|claims| [&[0], claims.as_bytes()].concat());
            as_claims.chain(tokens.iter().map(|token| [&[1], token.as_bytes()].concat())).collect()
        }
        "tickets" => vec![ticket("team"), ticket("")],
        "session" => frames().iter().filter_map(|bytes| session(bytes)).collect(),
        "mesh" => mesh(),
        "flag" => FLAGS.map(|text| text.into()).to_vec(),
        "profile" => PROFILES.map(|text| text.into()).to_vec(),
        "peer-ids" => texts_of(PEERS, &["peers", "also_read", "refused"], "text")
            .into_iter()
            .map(String::into_bytes)
            .collect(),
        _ => Vec::new(),
    }
}

#[expect(clippy::expect_used, reason = "the file is compared with what wrote it, by a test")]
fn parse(file: &str) -> Value {
    serde_json::from_str(file).expect("vectors are JSON")
}

fn texts_of(file: &str, groups: &[&str], name: &str) -> Vec<String> {
    let vectors = parse(file);
    let all =
        groups.iter().flat_map(|group| vectors[*group].as_array().cloned().unwrap_or_default());
    all.filter_map(|vector| vector[name].as_str().map(str::to_owned)).collect()
}

fn bytes_of(file: &str, groups: &[&str]) -> Vec<Vec<u8>> {
    texts_of(file, groups, "bytes").iter().map(|hex| unhex(hex)).collect()
}

#[expect(clippy::expect_used, reason = "the file is compared with what wrote it, by a test")]
fn unhex(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).expect("vectors are hexadecimal")
}

/// A frame as the target `bodies` takes it: its type's place in the list, and its body.
fn body(frame: &[u8]) -> Option<Vec<u8>> {
    let (number, head) = varint::read(frame)?;
    let (_, length) = varint::read(&frame[head..])?;
    let place = TYPES.iter().position(|(known, _)| *known == number)?;
    Some([&[u8::try_from(place).ok()?], &frame[head + length..]].concat())
}

/// A short frame as the target `session` takes it: a home, and so many bytes.
fn session(frame: &[u8]) -> Option<Vec<u8>> {
    let step = u8::try_from(frame.len().checked_sub(1)? * 2).ok()?;
    // Then: told to go, to stay, news, a sender.
    Some([&[0, step], frame, &[0x01, step], frame, &[0x03, 0x05, 0x09]].concat())
}

/// The fields of a ticket, which the target seals.
fn ticket(group: &str) -> Vec<u8> {
    let ticket = Ticket {
        peer: hello::peer_of(&SigningKey::from_bytes(&[1; 32])),
        instance: Instance::from_bytes([0xaa; 16]),
        stamp: Stamp::from_u64(5),
        group: group.into(),
        expires_unix: u64::MAX,
        open: group.is_empty(),
        epoch: 0,
        window: 0,
    };
    let key = baton_protocol::ticket::TicketKey::from_bytes([7; 32]);
    let sealed = ticket.seal(&key);
    sealed[..sealed.len() - 32].to_vec()
}

fn mesh() -> Vec<Vec<u8>> {
    use baton_protocol::frame::Intent;
    use baton_protocol::id::RelayId;
    use baton_protocol::presence::{Home, Withdrawal};
    use baton_relay::mesh_wire::{Forward, MeshFrame};
    let peer = PeerId::from_bytes([1; 32]);
    let (stamp, relay) = (Stamp::from_u64(7), RelayId::from_u32(3));
    let instance = Instance::from_bytes([2; 16]);
    let home = Home { stamp, relay, instance, group: "team".into(), intent: Intent::Resume };
    let addresses = [([10, 0, 0, 1], 4444).into(), ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 4444).into()];
    let frames = [
        MeshFrame::Greeting { relay, boot: 9, address: addresses[0] },
        MeshFrame::Member { address: addresses[1] },
        MeshFrame::Announce { peer, home },
        MeshFrame::Withdraw { peer, stamp, why: Withdrawal::Moved },
        MeshFrame::Synced,
        MeshFrame::Heard { count: 300 },
        MeshFrame::Reach { peer, stamp },
        MeshFrame::Refused { sender: peer, receiver: peer },
    ];
    let payload = bytes::Bytes::from_static(b"hello");
    let (destination, sender) = (peer.prefix(), peer);
    let forward = Forward { destination, sender, stamp, hops: 1, stranger: false, payload };
    let stranger = Forward { stranger: true, ..forward.clone() };
    let encoded = frames.iter().map(MeshFrame::encode).chain([forward.encode(), stranger.encode()]);
    encoded.map(|bytes| [&[3], &bytes[..]].concat()).collect()
}
