//! One relay, a network in between, and clients behind it.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use baton_client::{Client, ClientConfig, FailureClass, Options, Status};
use baton_relay::status::Status as RelayStatus;
use baton_tests::fleet::Fleet;
use baton_tests::outside::Outside;
use baton_tests::udp_proxy::{Both, UdpProxy};
use baton_tests::until::happens;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is waited for takes no longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// A relay with a network before it.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) network: UdpProxy,
}

/// How attempts to migrate ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) ok: u64,
    pub(crate) failed: BTreeMap<&'static str, u64>,
}

impl Stage {
    pub(crate) async fn set(conditions: Both, seed: u64) -> Self {
        Self::before(Fleet::start(1).await, conditions, seed).await
    }

    /// With a relay that listens as relays do where nobody says otherwise.
    pub(crate) async fn dual_stack(conditions: Both, seed: u64) -> Self {
        let fleet = Fleet::start_on("[::]:0".parse().unwrap(), 1).await;
        Self::before(fleet, conditions, seed).await
    }

    async fn before(fleet: Fleet, conditions: Both, seed: u64) -> Self {
        let here = Arc::new(Outside::here());
        let address = fleet.address_of_oldest();
        let network = UdpProxy::start(here, address, conditions, seed).await.unwrap();
        Self { fleet, network }
    }

    /// The settings of a client that comes over the network.
    pub(crate) fn config(&self, seed: u8) -> ClientConfig {
        let mut config = self.fleet.client(seed);
        let mut profile = (*config.profile).clone();
        profile.addresses = vec![self.network.address().to_string()];
        config.profile = Arc::new(profile);
        config
    }

    /// Attaches clients with these seeds, which have so much patience with a probe.
    pub(crate) async fn clients(
        &self,
        seeds: impl IntoIterator<Item = u8>,
        probe: Duration,
    ) -> Vec<Client> {
        let mut attaching = JoinSet::new();
        for seed in seeds {
            let mut options = Options::default();
            options.probe = probe;
            let config = self.config(seed).options(options);
            attaching.spawn(async { Client::connect(config).await.unwrap() });
        }
        attaching.join_all().await
    }

    pub(crate) fn relay(&self) -> RelayStatus {
        self.fleet.statuses().remove(0)
    }

    /// How many migrations of a kind the relay has counted.
    pub(crate) fn counted(&self, kind: &str) -> Ends {
        Ends::of(&self.fleet.metrics()[0], kind)
    }

    /// Waits until the relay has counted these, and no others.
    pub(crate) async fn counts(&self, kind: &str, expected: &Ends) {
        let counted = || self.counted(kind) == *expected;
        if !happens(PATIENCE, Duration::from_millis(10), counted).await {
            panic!("{expected:?} of kind {kind} expected, and {:?} counted", self.counted(kind));
        }
    }

    pub(crate) async fn end(self, clients: Vec<Client>) {
        for client in clients {
            client.close().await;
        }
        self.fleet.stop().await;
    }
}

impl Ends {
    /// Of this kind, as a relay's metrics say.
    pub(crate) fn of(metrics: &str, kind: &str) -> Self {
        let one = |result: &str, class: &str| -> u64 {
            let series = format!(
                r#"baton_relay_migrations_total{{class="{class}",kind="{kind}",result="{result}"}}"#
            );
            let line = metrics.lines().find(|line| line.starts_with(&series)).expect("a series");
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let failed = FailureClass::ALL.map(|class| (class.name(), one("failed", class.name())));
        let failed = failed.into_iter().filter(|(_, count)| *count > 0).collect();
        Self { ok: one("ok", "none"), failed }
    }

    pub(crate) fn add(&mut self, failed: Option<FailureClass>) {
        match failed {
            None => self.ok += 1,
            Some(class) => *self.failed.entry(class.name()).or_default() += 1,
        }
    }

    pub(crate) fn all(&self) -> u64 {
        self.ok + self.failed.values().sum::<u64>()
    }
}

impl std::ops::AddAssign for Ends {
    fn add_assign(&mut self, other: Self) {
        self.ok += other.ok;
        for (class, count) in other.failed {
            *self.failed.entry(class).or_default() += count;
        }
    }
}

/// Another path: a socket with another port, which the network takes for another client.
pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// A client migrates so often, one time after the other, whatever comes of it.
pub(crate) async fn migrate(client: &Client, times: usize) -> Ends {
    let mut ends = Ends::default();
    for _ in 0..times {
        let end = client.paths().migrate(socket()).await;
        ends.add(end.err().map(|error| error.class()));
    }
    ends
}

/// All clients migrate so often, at the same time.
pub(crate) async fn migrate_all(clients: &[Client], times: usize) -> Ends {
    let mut migrating = JoinSet::new();
    for client in clients {
        let client = client.clone();
        migrating.spawn(async move { migrate(&client, times).await });
    }
    let mut ends = Ends::default();
    migrating.join_all().await.into_iter().for_each(|one| ends += one);
    ends
}

/// The connections of these clients.
pub(crate) fn connections(clients: &[Client]) -> Vec<Option<usize>> {
    clients.iter().map(|client| client.status().path.map(|path| path.connection)).collect()
}

/// No client has lost its session, or gone elsewhere.
pub(crate) fn assert_stayed(clients: &[Client], before: &[Option<usize>]) {
    assert_eq!(connections(clients), before);
    for Status { resumes, handovers, .. } in clients.iter().map(Client::status) {
        assert_eq!((resumes, handovers), (0, 0));
    }
}

/// Says stop after so long.
pub(crate) fn after(time: Duration) -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        stop.send_replace(true);
    });
    stopped
}
