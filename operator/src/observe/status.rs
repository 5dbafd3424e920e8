//! Asking relays for their status. Whatever is not a good answer is no answer: a plan never depends on
//! status alone, because the deadline always comes.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::names;
use crate::plan::snapshot::RelayStatus;

/// A relay that needs longer is as good as one that does not answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// No status is longer.
const BODY_LIMIT: usize = 64 * 1024;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The pod's address is none.
    #[error("{0} is no address")]
    Address(String),
    /// Nobody is there.
    #[error("connecting")]
    Connect(#[source] std::io::Error),
    /// It is not HTTP.
    #[error("asking")]
    Http(#[source] hyper::Error),
    /// The answer is no success.
    #[error("the answer is {0}")]
    Refused(http::StatusCode),
    /// The answer is too long, or ends early.
    #[error("reading the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is no status.
    #[error("reading the status")]
    Json(#[source] serde_json::Error),
    /// The answer comes from another pod, to which the address has passed.
    #[error("the answer comes from pod {0}")]
    OtherPod(String),
    /// It takes too long.
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// The status of the pod with this address and UID.
///
/// # Errors
/// When there is no good answer in time.
pub async fn ask(ip: &str, uid: &str) -> Result<RelayStatus, StatusError> {
    let ip: IpAddr = ip.parse().map_err(|_| StatusError::Address(ip.to_owned()))?;
    let port = u16::try_from(names::ADMIN_PORT).unwrap_or_default();
    ask_at((ip, port), uid).await
}

async fn ask_at(address: (IpAddr, u16), uid: &str) -> Result<RelayStatus, StatusError> {
    let status = timeout(TIMEOUT, fetch(address)).await.map_err(|_| StatusError::Timeout)??;
    if status.pod_uid == uid { Ok(status) } else { Err(StatusError::OtherPod(status.pod_uid)) }
}

async fn fetch(address: (IpAddr, u16)) -> Result<RelayStatus, StatusError> {
    let stream = TcpStream::connect(address).await.map_err(StatusError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(StatusError::Http)?;
    let request = http::Request::get("/v1/status")
        .header(http::header::HOST, "relay")
        .body(Empty::<Bytes>::new())
        .map_err(|error| StatusError::Body(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(StatusError::Http)?;
        if response.status() != http::StatusCode::OK {
            return Err(StatusError::Refused(response.status()));
        }
        let body = Limited::new(response.into_body(), BODY_LIMIT);
        let body = body.collect().await.map_err(StatusError::Body)?;
        serde_json::from_slice(&body.to_bytes()).map_err(StatusError::Json)
    };
    // The connection moves only while it is polled. It ends with the exchange.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        ended = &mut connection => {
            ended.map_err(StatusError::Http)?;
            // What it has read is with the exchange now.
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::snapshot::RelayState;

    /// Answers one request with this, or with nothing.
    async fn relay(answer: Option<String>) -> (IpAddr, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        (address.ip(), address.port())
    }

    fn ok(body: &str) -> Option<String> {
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    async fn said(answer: Option<String>) -> Result<RelayStatus, StatusError> {
        ask_at(relay(answer).await, "u").await
    }

    #[tokio::test]
    async fn a_status_is_read_and_what_is_unknown_in_it_ignored() {
        let body = r#"{"podUid": "u", "state": "draining", "sessions": 3, "later": {"a": 1},
            "drain": {"id": "u-1", "atFlag": 10, "remaining": 3, "moved": 7, "secondsLeft": 41.8}}"#;
        let status = said(ok(body)).await.unwrap();
        assert_eq!((status.state, status.sessions), (RelayState::Draining, 3));
        let drain = status.drain.unwrap();
        assert_eq!(
            (drain.id.as_str(), drain.at_flag, drain.moved, drain.silent),
            ("u-1", 10, 7, 0)
        );
    }

    #[tokio::test]
    async fn a_state_of_later_times_is_no_error() {
        let status = said(ok(r#"{"podUid": "u", "state": "resting"}"#)).await.unwrap();
        assert_eq!(status.state, RelayState::Other);
    }

    #[tokio::test]
    async fn bad_answers_are_none() {
        let long = format!(r#"{{"podUid": "u", "version": "{}"}}"#, "x".repeat(BODY_LIMIT));
        let cases = [
            (ok(r#"{"podUid": "other"}"#), "the answer comes from pod other"),
            (ok(r#"{"podUid": "u", "sessions": -1}"#), "reading the status"),
            (ok("NaN"), "reading the status"),
            (ok(&long), "reading the answer"),
            (Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into()), "the answer is 503"),
            (Some("nonsense\r\n\r\n".into()), "asking"),
        ];
        for (answer, expected) in cases {
            let error = said(answer).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}, not {expected}");
        }
    }

    #[tokio::test]
    async fn silence_ends_after_a_second() {
        let error = said(None).await.unwrap_err();
        assert!(matches!(error, StatusError::Timeout), "{error}");
    }
}
