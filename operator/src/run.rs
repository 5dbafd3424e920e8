//! The operator as a program: everything runs until SIGTERM, then turns under way are finished.

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::{join_all, try_join};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::admin::{self, Pending};
use crate::config::{Config, LogFormat};
use crate::connect::connect;
use crate::controller::{self, Shutdown};
use crate::metrics::Metrics;

/// Logs as the flags say.
///
/// # Errors
/// When the filter makes no sense.
pub fn log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&config.log).with_context(|| {
        format!("--log '{}' is no filter; try `info` or `baton_operator=debug`", config.log)
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Looks after the pools until SIGTERM or SIGINT.
///
/// # Errors
/// When there is no API server to talk to, or no port to listen on.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    let client = connect().await?;
    let metrics = Metrics::new().context("metrics")?;
    let pending = Pending::default();
    let controllers = join_all(config.scopes().into_iter().map(|namespace| {
        let (client, metrics) = (client.clone(), metrics.clone());
        controller::run(client, namespace, metrics, pending.clone(), shutdown.clone())
    }));
    let admin = admin::serve(config.admin_addr, metrics.clone(), pending.clone(), shutdown.clone());
    let admin = async {
        admin.await.with_context(|| {
            format!("--admin-addr {} cannot be listened on: choose another", config.admin_addr)
        })
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "looking after pools");
    try_join(admin, controllers.map(Ok)).await?;
    tracing::info!("ended");
    Ok(())
}

fn shutdown() -> anyhow::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let either = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // Spawned, so that it is noticed however seldom anybody asks.
    let either = tokio::spawn(either).map(|_| ());
    Ok(either.boxed().shared())
}
