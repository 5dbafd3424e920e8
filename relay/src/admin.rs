//! The admin port: `/livez`, `/readyz`, `/metrics`, `/v1/status`. It has a thread of its own, so that it answers however busy
//! the relay is; and nothing on it changes anything.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::status::Reporter;

/// The admin port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its address is taken or not ours.
    #[error("the admin port {address} cannot be bound: choose another --admin-listen")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Its thread cannot be started.
    #[error("the admin port's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The thread that serves the admin port.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Admin {
    /// Binds and serves.
    pub(crate) fn start(address: SocketAddr, reporter: Arc<Reporter>) -> Result<Self, AdminError> {
        let bind = |source| AdminError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let run = move || runtime.block_on(serve(listener, reporter, stopped));
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(run)
            .map_err(AdminError::Thread)?;
        Ok(Self { address, thread: Some(thread), stop })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits for that elsewhere than on the caller's thread.
    pub(crate) async fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // An error means that the runtime ends, and the thread with the process.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    reporter: Arc<Reporter>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin port cannot be served"),
    };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/v1/status",
            get(|State(reporter): State<Arc<Reporter>>| async move { Json(reporter.status()) }),
        )
        .with_state(reporter);
    // Connections that are still open are cut: whoever asks may ask again, of someone who is there.
    tokio::select! {
        served = axum::serve(listener, router) => {
            if let Err(error) = served {
                tracing::error!(%error, "the admin port ended");
            }
        }
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

async fn ready(State(reporter): State<Arc<Reporter>>) -> (StatusCode, &'static str) {
    match reporter.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: waiting for seeds or for the mesh\n")
        }
    }
}

async fn metrics(State(reporter): State<Arc<Reporter>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], reporter.metrics.render())
}
