//! The UDP echo: every datagram comes back with the pod's name behind it.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::UdpSocket;

/// Answers each datagram with its first 1024 bytes, a space, and `name`.
pub(crate) async fn serve(address: SocketAddr, name: String) -> anyhow::Result<()> {
    let socket =
        UdpSocket::bind(address).await.with_context(|| format!("cannot bind UDP {address}"))?;
    let mut buffer = vec![0; 1024 + 1 + name.len()];
    loop {
        // An ICMP error of a client that went away arrives here: it ends nothing.
        let Ok((length, from)) = socket.recv_from(&mut buffer[..1024]).await else { continue };
        let end = length + 1 + name.len();
        buffer[length] = b' ';
        buffer[length + 1..end].copy_from_slice(name.as_bytes());
        // A full send buffer loses the answer, as any network may.
        let _ = socket.send_to(&buffer[..end], from).await;
    }
}
