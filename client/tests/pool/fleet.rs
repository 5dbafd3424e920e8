//! Relays of one pool in this process, and clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::token::{Grant, issue, now_unix};
use baton_client::{Client, ClientConfig, Identity, Profile};
use baton_relay::auth::{Mode, TokenKeys};
use baton_relay::drain::{Flag, Reason};
use baton_relay::keys::{PoolKeys, PoolSecret};
use baton_relay::rates::Rates;
use baton_relay::seeds::Seeds;
use baton_relay::{Config, Relay, Timers};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

pub(crate) const POOL: &str = "tests/edge";
pub(crate) const SECRET: &[u8] = b"a secret for tests, of thirty-two bytes or more";
const SERVER_NAME: &str = "edge.tests.baton.internal";

/// The pool's certificates, as the operator makes them: a CA, and a leaf for all relays.
pub(crate) struct Fleet {
    ca: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub(crate) relays: Vec<Relay>,
    rates: Rates,
}

impl Fleet {
    /// So many relays that are linked to each other.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, Rates::default()).await
    }

    /// Relays that let no more pass than this.
    pub(crate) async fn start_with(count: usize, rates: Rates) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![SERVER_NAME.into()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let mut fleet = Self {
            ca: ca_certificate.pem(),
            certificate: leaf.der().clone(),
            key: key.serialize_der(),
            relays: Vec::new(),
            rates,
        };
        for number in 0..count {
            fleet.join(&format!("relay {number}")).await;
        }
        fleet
    }

    /// Another relay.
    pub(crate) async fn join(&mut self, name: &str) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let relay = Relay::start(Config {
            name: name.into(),
            pool: POOL.into(),
            listen: any,
            mesh_listen: any,
            mesh_advertise: None,
            admin_listen: any,
            keys: PoolKeys::one(PoolSecret::from_bytes([7; 32])),
            mode: Mode::Token(TokenKeys::from_secrets(&[SECRET])),
            certificates: vec![self.certificate.clone()],
            private_key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
            epoch: 1,
            max_sessions: 1000,
            rates: self.rates,
            policy_epoch: 0,
            timers: Timers::default(),
        });
        let relay = relay.unwrap();
        relay.set_seeds(Seeds { addresses: self.relays.iter().map(Relay::mesh_address).collect() });
        relay.ready().await;
        self.relays.push(relay);
        let links = self.relays.len() - 1;
        let linked = |relay: &Relay| relay.status().mesh.links == links;
        until("every relay is linked to every other", || self.relays.iter().all(linked)).await;
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.relays.iter().map(Relay::address).collect()
    }

    /// The profile of a client that knows these addresses.
    pub(crate) fn profile_json(&self, addresses: &[SocketAddr], token: &str) -> String {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let profile = json!({
            "addresses": addresses, "serverName": SERVER_NAME, "audience": POOL, "ca": self.ca, "token": token,
        });
        profile.to_string()
    }

    /// Settings of a client that dials these relays, in this order, again and again.
    pub(crate) fn config(&self, seed: u8, relays: &[usize]) -> ClientConfig {
        let addresses: Vec<_> =
            relays.iter().map(|number| self.relays[*number].address()).collect();
        self.config_for(seed, &addresses)
    }

    pub(crate) fn config_for(&self, seed: u8, addresses: &[SocketAddr]) -> ClientConfig {
        self.config_with(seed, addresses, &token())
    }

    /// Settings of a client that shows this token.
    pub(crate) fn config_with(
        &self,
        seed: u8,
        addresses: &[SocketAddr],
        token: &str,
    ) -> ClientConfig {
        let profile = Profile::from_json(self.profile_json(addresses, token).as_bytes()).unwrap();
        ClientConfig::new(Identity::from_seed([seed; 32]), profile)
            .attach_timeout(Some(Duration::from_secs(10)))
    }

    /// Settings of a client of another group than the others'.
    pub(crate) fn config_in(&self, group: &str, seed: u8, relays: &[usize]) -> ClientConfig {
        let addresses: Vec<_> =
            relays.iter().map(|number| self.relays[*number].address()).collect();
        self.config_with(seed, &addresses, &token_of(group))
    }

    /// The certificate of its relays, and its key.
    pub(crate) fn tls(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        (self.certificate.clone(), PrivateKeyDer::Pkcs8(key))
    }

    /// A client that begins at the first of these relays.
    pub(crate) async fn client(&self, seed: u8, relays: &[usize]) -> Client {
        Client::connect(self.config(seed, relays)).await.unwrap()
    }

    /// Waits until every relay knows of so many peers.
    pub(crate) async fn know(&self, peers: usize) {
        let known = |relay: &Relay| relay.status().mesh.peers == peers;
        until("every relay knows every peer", || self.relays.iter().all(known)).await;
    }

    pub(crate) async fn stop(self) {
        for relay in self.relays {
            relay.stop().await;
        }
    }
}

/// A token for anyone.
pub(crate) fn token() -> String {
    token_of("team")
}

/// A token for anyone, into this group.
pub(crate) fn token_of(group: &str) -> String {
    token_for(group, Duration::from_secs(3600))
}

/// The same, which ends that long from now.
pub(crate) fn token_for(group: &str, lifetime: Duration) -> String {
    let grant = Grant { pool: POOL.into(), peer: None, group: Some(group.into()), lifetime };
    issue(&grant, SECRET, now_unix()).unwrap()
}

/// A shutdown flag.
pub(crate) fn flag(id: &str, grace_seconds: u64, reason: Reason) -> Option<Flag> {
    Some(Flag { id: id.into(), grace_seconds, reason, max_sessions_per_second: 0 })
}

/// Waits until `holds`, or fails.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("within 20 s: {what}");
}
