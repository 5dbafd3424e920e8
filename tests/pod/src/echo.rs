//! The UDP echo: every datagram comes back with the pod's name and the sender's address behind it.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::UdpSocket;

/// What of a datagram is echoed.
const ECHOED: usize = 1024;

/// Answers each datagram with its first [`ECHOED`] bytes and ` <name> <address>`, the address being
/// where the datagram came from as the pod sees it.
pub(crate) async fn serve(address: SocketAddr, name: String) -> anyhow::Result<()> {
    let socket =
        UdpSocket::bind(address).await.with_context(|| format!("cannot bind UDP {address}"))?;
    let mut buffer = vec![0; ECHOED];
    loop {
        // An ICMP error of a client that went away arrives here: it ends nothing.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let mut answer = buffer[..length].to_vec();
        answer.extend_from_slice(format!(" {name} {from}").as_bytes());
        // A full send buffer loses the answer, as any network may.
        let _ = socket.send_to(&answer, from).await;
    }
}
