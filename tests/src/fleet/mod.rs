//! A pool of real relays in this process, behind one loopback address, replaced one by one as the operator does it.

mod balancer;

use std::net::SocketAddr;
use std::time::Duration;

use baton_client::{ClientConfig, Identity, Profile};
use baton_relay::auth::Mode;
use baton_relay::drain::{Flag, Reason};
use baton_relay::keys::{PoolKeys, PoolSecret};
use baton_relay::rates::Rates;
use baton_relay::seeds::Seeds;
use baton_relay::status::Status;
use baton_relay::{Config, Relay, Timers};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

pub use balancer::Balancer;

/// The name in the relays' certificate.
const SERVER_NAME: &str = "edge.tests.baton.internal";

/// A pool of relays.
#[derive(Debug)]
pub struct Fleet {
    relays: Vec<Relay>,
    balancer: Balancer,
    certificate: CertificateDer<'static>,
    /// The same, as profiles have it.
    ca: String,
    key: Vec<u8>,
    started: u64,
    listen: SocketAddr,
}

/// How the drain of one relay went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Sessions in the snapshot, and those that came after it.
    pub sessions: u64,
    /// How they ended.
    pub moved: u64,
    /// How they ended.
    pub left: u64,
    /// How they ended.
    pub forced: u64,
    /// How they ended.
    pub silent: u64,
}

impl Fleet {
    /// So many relays, all linked.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(count: usize) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), count).await
    }

    /// So many relays, all linked, which listen there: as `[::]:0`, say, as relays do where nobody says otherwise.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_on(listen: SocketAddr, count: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.into()]);
        let made = made.expect("a certificate");
        let mut fleet = Self {
            relays: Vec::new(),
            balancer: Balancer::start().await,
            certificate: made.cert.der().clone(),
            ca: made.cert.pem(),
            key: made.signing_key.serialize_der(),
            started: 0,
            listen,
        };
        for _ in 0..count {
            fleet.add().await;
        }
        fleet
    }

    /// The address of them all.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// The address of the oldest relay, past the balancer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn address_of_oldest(&self) -> SocketAddr {
        reached_at(&self.relays[0])
    }

    /// How the relays are, from the oldest to the newest.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.relays.iter().map(Relay::status).collect()
    }

    /// The relays' metrics, from the oldest to the newest.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        self.relays.iter().map(Relay::metrics).collect()
    }

    /// The pool's profile, as its clients have it in a file.
    #[must_use]
    pub fn profile(&self) -> String {
        let profile = json!({
            "addresses": [self.address().to_string()],
            "serverName": SERVER_NAME,
            "audience": "tests/edge",
            "ca": self.ca,
        });
        profile.to_string()
    }

    /// A client of the pool with this seed, as it would be configured by a profile.
    ///
    /// # Panics
    /// Never: the profile is made here.
    #[must_use]
    pub fn client(&self, seed: u8) -> ClientConfig {
        let profile = Profile::from_json(self.profile().as_bytes()).expect("a profile");
        ClientConfig::new(Identity::from_seed([seed; 32]), profile)
    }

    /// Starts another relay, and lets flows in when it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn add(&mut self) {
        let number = self.started;
        self.started += 1;
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let relay = Relay::start(Config {
            name: format!("relay {number}"),
            pool: "tests/edge".into(),
            listen: self.listen,
            mesh_listen: any,
            mesh_advertise: None,
            admin_listen: any,
            keys: PoolKeys::one(PoolSecret::from_bytes([7; 32])),
            mode: Mode::Open,
            certificates: vec![self.certificate.clone()],
            private_key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
            epoch: 0,
            max_sessions: 10_000,
            rates: Rates::default(),
            policy_epoch: 0,
            timers: Timers::default(),
        })
        .expect("a relay");
        let addresses = self.relays.iter().map(Relay::mesh_address).collect();
        relay.set_seeds(Seeds { addresses });
        relay.ready().await;
        self.balancer.add(reached_at(&relay));
        self.relays.push(relay);
    }

    /// Sets the shutdown flag of the oldest relay.
    pub fn flag_oldest(&self, id: &str, grace: Duration) {
        self.relays[0].set_flag(Some(Flag {
            id: id.into(),
            grace_seconds: grace.as_secs(),
            reason: Reason::Rollout,
            max_sessions_per_second: 0,
        }));
    }

    /// Withdraws it.
    pub fn unflag_oldest(&self) {
        self.relays[0].set_flag(None);
    }

    /// Starts a relay, drains the oldest one, and removes it. Until it is gone, new flows may land on it, as with a Service.
    ///
    /// # Panics
    /// When it is not drained within `grace` and some seconds.
    pub async fn replace_oldest(&mut self, grace: Duration) -> Drained {
        self.add().await;
        self.drain_oldest(grace).await
    }

    /// Drains the oldest relay and removes it.
    ///
    /// # Panics
    /// When it is not drained within `grace` and some seconds.
    pub async fn drain_oldest(&mut self, grace: Duration) -> Drained {
        self.flag_oldest(&format!("drain-{}", self.started), grace);
        let old = self.relays.remove(0);
        let drained = tokio::time::timeout(grace + Duration::from_secs(10), old.drained()).await;
        let status = old.status();
        assert!(drained.is_ok(), "not drained: {status:?}");
        self.balancer.remove(reached_at(&old));
        let report = status.drain.expect("a report");
        old.stop().await;
        Drained {
            sessions: report.at_flag + report.stragglers,
            moved: report.moved,
            left: report.left,
            forced: report.forced,
            silent: report.silent,
        }
    }

    /// The relay with this id ends as if its machine had lost its power: without a word to its clients.
    ///
    /// # Panics
    /// When there is no such relay.
    pub fn kill(&mut self, id: &str) {
        let place = self.relays.iter().position(|relay| relay.id().to_string() == id);
        let relay = self.relays.remove(place.expect("a relay of the fleet"));
        // First, so that its clients hear nothing of its end.
        self.balancer.cut(reached_at(&relay));
        drop(relay);
    }

    /// Every client comes to its relay from another address from now on, as behind a NAT that forgot its mappings.
    pub fn rebind_clients(&self) {
        self.balancer.rebind();
    }

    /// Ends all relays.
    pub async fn stop(self) {
        self.last_metrics().await;
    }

    /// Ends all relays, and gives their metrics: whatever was under way has its end in them.
    pub async fn last_metrics(self) -> Vec<String> {
        for relay in &self.relays {
            relay.stop().await;
        }
        self.metrics()
    }
}

/// Its address on this machine.
fn reached_at(relay: &Relay) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], relay.address().port()))
}

impl std::ops::AddAssign for Drained {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.moved += other.moved;
        self.left += other.left;
        self.forced += other.forced;
        self.silent += other.silent;
    }
}
