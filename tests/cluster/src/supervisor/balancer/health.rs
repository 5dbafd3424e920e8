//! Which nodes are healthy, as kube-proxy answers on each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::address::NodeId;
use crate::netns::NetNs;

/// kube-proxy's own health: asked for Services with externalTrafficPolicy Cluster.
pub(super) const PROXY_PORT: u16 = 10256;

/// How long an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_millis(900);

/// Bad answers in a row until a node counts as unhealthy.
const FAILURES: u32 = 2;

/// What each node answered last, for each health port.
#[derive(Debug)]
pub(super) struct Health {
    nodes: Vec<NodeId>,
    /// Bad answers in a row. A pair that was never asked counts as unhealthy.
    failures: BTreeMap<(NodeId, u16), u32>,
}

impl Health {
    pub(super) fn new(nodes: Vec<NodeId>) -> Self {
        Self { nodes, failures: BTreeMap::new() }
    }

    /// The nodes that take flows for this health port.
    pub(super) fn healthy(&self, port: u16) -> Vec<NodeId> {
        let failures = |node| self.failures.get(&(node, port)).copied().unwrap_or(FAILURES);
        self.nodes.iter().copied().filter(|&node| failures(node) < FAILURES).collect()
    }

    /// Asks every node on every port, all at once.
    pub(super) async fn ask(&mut self, gateway: &NetNs, ports: BTreeSet<u16>) {
        let asked = self.nodes.iter().flat_map(|&node| ports.iter().map(move |&port| (node, port)));
        let answers = join_all(asked.map(|(node, port)| async move {
            let address = SocketAddr::from((node.address(), port));
            let answer = timeout(ANSWER_DEADLINE, get(gateway, address)).await;
            ((node, port), matches!(answer, Ok(Ok(StatusCode::OK))))
        }))
        .await;
        for (key, good) in answers {
            self.note(key, good);
        }
        self.failures.retain(|(_, port), _| ports.contains(port));
    }

    fn note(&mut self, key: (NodeId, u16), good: bool) {
        let failures = self.failures.entry(key).or_insert(FAILURES);
        *failures = if good { 0 } else { failures.saturating_add(1) };
    }

    /// For the plan's tests: what was answered.
    #[cfg(test)]
    pub(super) fn noted(nodes: u8, answers: &[(&str, u16, bool)]) -> Self {
        let mut health = Self::new(NodeId::first(nodes).collect());
        for &(node, port, good) in answers {
            health.note((node.parse().unwrap(), port), good);
        }
        health
    }
}

async fn get(gateway: &NetNs, address: SocketAddr) -> io::Result<StatusCode> {
    let stream = gateway.connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get("/healthz")
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    tokio::select! {
        response = sender.send_request(request) => {
            response.map(|response| response.status()).map_err(io::Error::other)
        }
        _ = connection => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy(answers: &[bool]) -> bool {
        let answers: Vec<_> = answers.iter().map(|&good| ("n1", PROXY_PORT, good)).collect();
        !Health::noted(1, &answers).healthy(PROXY_PORT).is_empty()
    }

    #[test]
    fn two_bad_answers_in_a_row_take_a_node_out_and_one_good_brings_it_back() {
        assert!(!healthy(&[]));
        assert!(healthy(&[true]));
        assert!(healthy(&[true, false]));
        assert!(!healthy(&[true, false, false]));
        assert!(healthy(&[true, false, false, true]));
        assert!(healthy(&[true, false, true, false]));
    }
}
