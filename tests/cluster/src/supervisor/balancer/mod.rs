//! An emulated load balancer: a controller for Services of type LoadBalancer.
//!
//! It does what a cloud's 5-tuple balancer does. It gives each Service an address, spreads flows over
//! the healthy nodes by a hash of their addresses and ports, keeps a flow where it is for as long as
//! its node is healthy, and asks each node's health where kube-proxy answers for it.

mod health;
mod plan;

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::health::Health;
use self::plan::{Balanced, Plan, Programmed};
use super::node::forget_flows;
use crate::address::NodeId;
use crate::control::BalancedService;
use crate::names;
use crate::netns::NetNs;
use crate::run::{CommandError, run_in_with_input};

/// How often a node's health is asked. Clouds take 5 to 10 s; tests do not want to wait.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// How long writing addresses may take, all together.
const PUBLISH_DEADLINE: Duration = Duration::from_millis(900);

/// What the balancer serves now, for the status.
#[derive(Debug, Clone, Default)]
pub(super) struct Balance(Arc<Mutex<Vec<BalancedService>>>);

impl Balance {
    pub(super) fn services(&self) -> Vec<BalancedService> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, services: Vec<BalancedService>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = services;
    }
}

/// Runs the controller for ever.
pub(super) async fn run(client: kube::Client, nodes: Vec<NodeId>, gateway: NetNs, shown: Balance) {
    let services: Api<Service> = Api::all(client.clone());
    let (reader, writer) = reflector::store();
    let mut changes = pin!(
        watcher(services, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .touched_objects()
    );
    let mut health = Health::new(nodes);
    let mut plan = Plan::default();
    let mut programmed = Programmed::default();
    let mut tick = interval(HEALTH_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(_)) => {}
                // The watcher backs off and comes back.
                Some(Err(error)) => tracing::debug!(%error, "watching Services"),
                None => return,
            },
            _ = tick.tick() => health.ask(&gateway, plan.health_ports()).await,
        }
        let known: Vec<_> = reader.state();
        let wanted = plan.update(known.iter().map(AsRef::as_ref), &health);
        if let Err(error) = program(&mut programmed, &wanted).await {
            // Tried again at the next tick.
            tracing::error!(%error, "cannot program the load balancer");
            continue;
        }
        shown.set(wanted.iter().map(Balanced::shown).collect());
        publish(&client, &wanted).await;
    }
}

/// Programs the gateway, and cuts the flows of what was taken away.
async fn program(programmed: &mut Programmed, balanced: &[Balanced]) -> Result<(), CommandError> {
    let Some(change) = programmed.change_to(balanced) else { return Ok(()) };
    let gateway = names::network_namespace();
    run_in_with_input(&gateway, &["nft", "-f", "-"], &change.rules).await?;
    for way in &change.gone {
        forget_flows(&gateway, way.protocol(), &way.flows()).await?;
    }
    programmed.done(change);
    Ok(())
}

/// Writes the address into each Service that does not show it yet. Those that do not take it now are
/// tried again at the next tick: a frozen API server must not hold up the health checks.
async fn publish(client: &kube::Client, balanced: &[Balanced]) {
    let unpublished = balanced.iter().filter(|service| !service.published);
    let published = join_all(unpublished.map(|service| publish_one(client, service)));
    if timeout(PUBLISH_DEADLINE, published).await.is_err() {
        tracing::debug!("the API server takes no addresses");
    }
}

async fn publish_one(client: &kube::Client, service: &Balanced) {
    let api: Api<Service> = Api::namespaced(client.clone(), &service.namespace);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": service.address}]}}});
    let patched =
        api.patch_status(&service.name, &PatchParams::default(), &Patch::Merge(status)).await;
    if let Err(error) = patched {
        // Its change, or its end, comes by the watch.
        tracing::debug!(%error, service = service.name, "cannot publish the address");
    }
}
