//! A port of the machine's loopback that leads to the API server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::address::{API_PORT, CONTROL_PLANE};
use crate::netns::NetNs;

/// Connections at once. A watch is one connection, so this is far above what tests need; above it,
/// new ones wait.
const CONNECTIONS_MAX: usize = 1024;

/// Takes the port.
pub(super) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse {
            return error;
        }
        let what = format!(
            "127.0.0.1:{port} is taken by another program; choose another port with --api-port"
        );
        io::Error::new(error.kind(), what)
    })
}

/// Splices every connection to the API server, for ever. Dropping the future closes them all.
pub(super) async fn serve(listener: TcpListener, inside: NetNs) {
    let inside = Arc::new(inside);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Forgets the finished ones, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
        };
        let outside = match accepted {
            Ok((outside, _)) => outside,
            Err(error) => {
                super::pause_after_failed_accept(&error).await;
                continue;
            }
        };
        let inside = Arc::clone(&inside);
        connections.spawn(async move {
            // A stopped API server refuses: the caller sees a closed connection, as it should.
            let _ = connect(outside, &inside).await;
            drop(place);
        });
    }
}

async fn connect(mut outside: TcpStream, inside: &NetNs) -> io::Result<()> {
    let mut server = inside.connect(SocketAddr::from((CONTROL_PLANE, API_PORT))).await?;
    outside.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut server).await?;
    Ok(())
}
