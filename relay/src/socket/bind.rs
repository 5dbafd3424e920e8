//! Sockets with room for bursts.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::sockopt;
use tracing::debug;

/// What is asked of the kernel for each direction. One thread reads for all sessions: what comes while it is busy waits here,
/// and the usual 208 KiB are some 160 full packets.
const BUFFER: usize = 4 * 1024 * 1024;

/// Binds a socket, with buffers as large as the kernel gives: it caps them (`net.core.rmem_max`, `wmem_max`), and says nothing.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    if let Err(error) = sockopt::set_socket_recv_buffer_size(&socket, BUFFER) {
        debug!(%error, "the receive buffer stays as it is");
    }
    if let Err(error) = sockopt::set_socket_send_buffer_size(&socket, BUFFER) {
        debug!(%error, "the send buffer stays as it is");
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_at_least_the_buffers_that_it_would_have_had() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (plain, ours) = (UdpSocket::bind(any).unwrap(), bind(any).unwrap());
        let sizes = |socket| {
            let receive = sockopt::socket_recv_buffer_size(socket).unwrap();
            (receive, sockopt::socket_send_buffer_size(socket).unwrap())
        };
        let (before, after) = (sizes(&plain), sizes(&ours));
        assert!(after.0 >= before.0 && after.1 >= before.1, "{before:?} -> {after:?}");
    }
}
