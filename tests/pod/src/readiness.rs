//! `/ready`: asked by the kubelet, set by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Order {
    ready: bool,
}

/// Serves `GET /ready` (200 or 503) and `POST /ready?ready=BOOL`; ready at first.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot bind TCP {address}"))?;
    let ready = Arc::new(AtomicBool::new(true));
    let routes = Router::new().route("/ready", get(report).post(set)).with_state(ready);
    axum::serve(listener, routes).await.context("HTTP server")
}

async fn report(State(ready): State<Arc<AtomicBool>>) -> StatusCode {
    if ready.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn set(State(ready): State<Arc<AtomicBool>>, Query(order): Query<Order>) -> StatusCode {
    ready.store(order.ready, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}
