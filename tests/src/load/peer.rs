//! One peer of a load: a client, and what was seen of its attachment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_client::{
    Client, ClientConfig, ConnectError, Event, Events, FailureClass, Identity, Profile,
};
use tokio::task::JoinSet;

use super::Meters;
use crate::fleet::Balancer;

/// A peer that is not attached by then is counted as failed.
const ATTACH: Duration = Duration::from_secs(30);

/// An attached peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Client,
    /// In front of it.
    pub(super) router: Option<Balancer>,
    tasks: JoinSet<()>,
}

impl Peer {
    /// Attaches a new peer, behind a router if `behind` is set. None if that fails, which is counted.
    pub(super) async fn attach(
        profile: &Profile,
        behind: bool,
        meters: &Arc<Meters>,
    ) -> Option<Self> {
        let router = match behind {
            false => None,
            true => match router(profile).await {
                Ok(router) => Some(router),
                Err(error) => {
                    meters.failed(FailureClass::Other, format!("no router: {error}"));
                    return None;
                }
            },
        };
        let mut profile = profile.clone();
        if let Some(router) = &router {
            profile.addresses = vec![router.address().to_string()];
        }
        let config = ClientConfig::new(Identity::ephemeral(), profile).attach_timeout(Some(ATTACH));
        let began = Instant::now();
        let client = match Client::connect(config).await {
            Ok(client) => client,
            Err(error) => {
                meters.failed(class(&error), error.to_string());
                return None;
            }
        };
        let now = Instant::now();
        let mut counted = meters.lock();
        counted.attaches.came(now);
        counted.attach_times.passed(now.saturating_duration_since(began));
        drop(counted);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(client.events(), meters.clone()));
        Some(Self { client, router, tasks })
    }

    /// Ends it as a client ends itself, and counts what it counted.
    pub(super) async fn leave(mut self, meters: &Meters) {
        self.count(meters);
        self.client.close().await;
        self.tasks.shutdown().await;
    }

    /// It is gone from one moment to the next: nothing that it may still say gets out.
    pub(super) async fn vanish(mut self, meters: &Meters) {
        self.count(meters);
        drop(self.router.take());
        self.tasks.shutdown().await;
    }

    fn count(&self, meters: &Meters) {
        let status = self.client.status();
        let mut counted = meters.lock();
        counted.dropped_by_clients += status.dropped;
        for (class, count) in &status.failures {
            *counted.failures.entry(class.name()).or_default() += count;
        }
        if status.last_problem.is_some() {
            counted.last_problem = status.last_problem;
        }
    }
}

async fn router(profile: &Profile) -> std::io::Result<Balancer> {
    let name = profile.addresses.first().cloned().unwrap_or_default();
    let server = tokio::net::lookup_host(&name).await?.next();
    let server = server.ok_or_else(|| std::io::Error::other(format!("{name} has no address")))?;
    let router = Balancer::start().await;
    router.add(server);
    Ok(router)
}

fn class(error: &ConnectError) -> FailureClass {
    match error {
        ConnectError::Refused(_) => FailureClass::Refused,
        ConnectError::TimedOut { .. } => FailureClass::HandshakeTimeout,
        _ => FailureClass::Other,
    }
}

/// Counts what happens to an attachment, until its client ends.
async fn follow(mut events: Events, meters: Arc<Meters>) {
    let mut lost = None;
    while let Some(event) = events.next().await {
        let now = Instant::now();
        match event {
            Event::HandedOver { .. } => {
                let mut counted = meters.lock();
                counted.returns.came(now);
                counted.handovers += 1;
            }
            Event::Attached { .. } | Event::Resumed { .. } => {
                let mut counted = meters.lock();
                counted.returns.came(now);
                if let Some(since) = lost.take() {
                    counted.away.passed(now.saturating_duration_since(since));
                }
            }
            Event::Lost { .. } => lost = lost.or(Some(now)),
            Event::Ended(why) => {
                let class = FailureClass::Superseded;
                if why == baton_client::Ended::Superseded {
                    meters.failed(class, "superseded".to_owned());
                }
            }
            // What was not seen cannot be judged: that is a fault of the run.
            Event::Missed(count) => {
                meters.failed(FailureClass::Other, format!("{count} events of a client missed"));
            }
            _ => {}
        }
    }
    if let Some(since) = lost {
        // It never came back.
        meters.lock().away.passed(since.elapsed());
    }
}
