//! Relays of one pool in this process.

use std::net::SocketAddr;
use std::sync::OnceLock;

use baton_relay::auth::{Mode, TokenKeys};
use baton_relay::drain::{Flag, Reason};
use baton_relay::keys::{PoolKeys, PoolSecret};
use baton_relay::rates::Rates;
use baton_relay::seeds::Seeds;
use baton_relay::{Config, Relay, Reload, Timers};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The audience of the pool.
pub(crate) const POOL: &str = "tests/edge";

/// What access tokens of the pool are made with.
pub(crate) const SECRET: &[u8] = b"a secret for tests, of thirty-two bytes or more";

/// The name in the relays' certificate.
pub(crate) const SERVER_NAME: &str = "edge.tests.baton.internal";

/// A change of the relay's rules, and of nothing else.
pub(crate) fn rules(mode: Mode) -> Reload {
    let Config { keys, mode, certificates, private_key, max_sessions, rates, policy_epoch, .. } =
        config("", mode, 1000);
    Reload { keys, mode, certificates, private_key, max_sessions, rates, policy_epoch }
}

/// The pool's certificate and its key, as they were made.
pub(crate) fn made() -> &'static CertifiedKey<KeyPair> {
    static MADE: OnceLock<CertifiedKey<KeyPair>> = OnceLock::new();
    MADE.get_or_init(|| rcgen::generate_simple_self_signed(vec![SERVER_NAME.into()]).unwrap())
}

/// The pool's certificate and its key.
pub(crate) fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = made().signing_key.serialize_der();
    (made().cert.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
}

/// A relay that is not yet part of a mesh.
pub(crate) fn start(name: &str, mode: Mode) -> Relay {
    start_with(name, mode, 1000)
}

pub(crate) fn start_with(name: &str, mode: Mode, max_sessions: usize) -> Relay {
    Relay::start(config(name, mode, max_sessions)).unwrap()
}

/// A relay whose siblings come in there.
pub(crate) fn start_at(name: &str, mesh_listen: SocketAddr) -> Relay {
    Relay::start(Config { mesh_listen, ..config(name, Mode::Open, 1000) }).unwrap()
}

pub(crate) fn config(name: &str, mode: Mode, max_sessions: usize) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (certificate, private_key) = certificate();
    Config {
        name: name.into(),
        pool: POOL.into(),
        listen: any,
        mesh_listen: any,
        mesh_advertise: None,
        admin_listen: any,
        keys: PoolKeys::one(PoolSecret::from_bytes([7; 32])),
        mode,
        certificates: vec![certificate],
        private_key,
        epoch: 1,
        max_sessions,
        // Many tests attach a peer again and again.
        rates: Rates { attachments_per_peer: None, ..Rates::default() },
        policy_epoch: 0,
        timers: Timers::default(),
    }
}

/// One relay that lets anyone in and is ready.
pub(crate) async fn one() -> Relay {
    let relay = start("a", Mode::Open);
    relay.set_seeds(Seeds::default());
    relay.ready().await;
    relay
}

/// One relay that lets anyone in, is ready, and has these limits.
pub(crate) async fn with(rates: Rates) -> Relay {
    let relay = Relay::start(Config { rates, ..config("a", Mode::Open, 1000) }).unwrap();
    relay.set_seeds(Seeds::default());
    relay.ready().await;
    relay
}

/// So many relays that let anyone in and are linked.
pub(crate) async fn linked(count: usize) -> Vec<Relay> {
    linked_with(count, Mode::Open).await
}

/// So many relays that are linked, and let these in.
pub(crate) async fn linked_with(count: usize, mode: Mode) -> Vec<Relay> {
    let relays: Vec<_> =
        (0..count).map(|number| start(&format!("relay {number}"), mode.clone())).collect();
    for (number, relay) in relays.iter().enumerate() {
        let others = relays.iter().enumerate().filter(|(other, _)| *other != number);
        relay.set_seeds(Seeds {
            addresses: others.map(|(_, other)| other.mesh_address()).collect(),
        });
    }
    for relay in &relays {
        relay.ready().await;
        assert_eq!(relay.status().mesh.links, count - 1);
    }
    relays
}

/// Whom a pool with access tokens lets in.
pub(crate) fn tokens() -> Mode {
    Mode::Token(TokenKeys::from_secrets(&[SECRET]))
}

/// An access token of the pool.
pub(crate) fn token(claims: &serde_json::Value) -> Bytes {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET))
        .unwrap()
        .into()
}

/// A shutdown flag.
pub(crate) fn flag(id: &str, grace_seconds: u64) -> Flag {
    Flag { id: id.into(), grace_seconds, reason: Reason::Rollout, max_sessions_per_second: 0 }
}

/// Waits until `holds`, or fails.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("within 10 s: {what}");
}

/// A counter's value.
pub(crate) fn count(relay: &Relay, series: &str) -> u64 {
    let metrics = relay.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{series} in {metrics}")).trim().parse().unwrap()
}
