//! A web server with one file, which it serves at a steady pace.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

/// How often a piece is served.
const PERIOD: Duration = Duration::from_millis(20);

/// Serves until it is ended.
pub(crate) async fn serve(
    file: PathBuf,
    listen: SocketAddr,
    bytes_per_second: u64,
) -> anyhow::Result<()> {
    let router = Router::new().route("/file", get(move || answer(file.clone(), bytes_per_second)));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn answer(file: PathBuf, bytes_per_second: u64) -> Result<impl IntoResponse, String> {
    let said = |error: std::io::Error| error.to_string();
    let file = tokio::fs::File::open(file).await.map_err(said)?;
    let length = file.metadata().await.map_err(said)?.len();
    let piece = usize::try_from(bytes_per_second / 50).unwrap_or(usize::MAX);
    let mut ticks = tokio::time::interval(PERIOD);
    // What a stall held back is served after it: the pace is that of the whole.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let pieces = futures::stream::unfold((file, ticks), move |(mut file, mut ticks)| async move {
        ticks.tick().await;
        let mut bytes = vec![0; piece];
        match file.read(&mut bytes).await {
            Ok(0) => None,
            Ok(length) => {
                bytes.truncate(length);
                Some((Ok(Bytes::from(bytes)), (file, ticks)))
            }
            Err(error) => Some((Err(error), (file, ticks))),
        }
    });
    Ok(([(CONTENT_LENGTH, length)], Body::from_stream(pieces)))
}
