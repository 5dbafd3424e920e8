//! Sockets inside another network namespace, for a process that stays outside.
//!
//! A socket belongs to the namespace of the thread that made it, for good; which thread uses it later
//! does not matter. So one thread lives in the namespace and makes sockets on order, and everything
//! else, an async runtime included, stays where it is.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use crate::names;

type Job = Box<dyn FnOnce() + Send>;

/// Orders that may wait for the thread at once. Each takes microseconds, so the bound only shows
/// where the thread hangs.
const QUEUE: usize = 64;

/// A thread that lives in a named network namespace.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    /// `None` only while dropping.
    orders: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl NetNs {
    /// Enters the namespace that `ip netns` knows as `name`.
    ///
    /// # Errors
    /// When there is no such namespace, or this process may not enter it.
    pub fn open(name: &str) -> io::Result<Self> {
        let path = names::namespace_path(name);
        let namespace = File::open(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("network namespace {name}: {e}")))?;
        let (orders, jobs) = mpsc::sync_channel::<Job>(QUEUE);
        let (entered, has_entered) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("in {name}")).spawn(move || {
            let network = Some(LinkNameSpaceType::Network);
            let result = move_into_link_name_space(namespace.as_fd(), network);
            let failed = result.is_err();
            // The other end waits for this in any case.
            let _ = entered.send(result);
            if !failed {
                jobs.iter().for_each(|job| job());
            }
        })?;
        let result = has_entered.recv().unwrap_or(Err(rustix::io::Errno::IO));
        result.map_err(|e| {
            io::Error::new(e.kind(), format!("cannot enter network namespace {name}: {e}"))
        })?;
        Ok(Self { name: name.to_owned(), orders: Some(orders), thread: Some(thread) })
    }

    /// Does `job` in the namespace. It must not block for long: orders are served one by one.
    ///
    /// # Errors
    /// What `job` returns; or that the thread is gone.
    pub async fn within<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more: nothing to tell.
            let _ = reply.send(job());
        });
        let gone = || io::Error::other(format!("the thread in {} is gone", self.name));
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.try_send(job).map_err(|e| match e {
            mpsc::TrySendError::Full(_) => io::Error::other(format!("{} hangs", self.name)),
            mpsc::TrySendError::Disconnected(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())?
    }

    /// A UDP socket bound to `address` in the namespace.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub async fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::from_std(
            self.within(move || {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?,
        )
    }

    /// A TCP connection from the namespace to `address`.
    ///
    /// # Errors
    /// As `connect(2)`. No time limit of its own.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .within(
                move || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() },
            )
            .await?;
        socket.connect(address).await
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // Without a sender the thread ends after the orders it has.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It panicked if a job did; that job's owner was told by its dropped channel.
            let _ = thread.join();
        }
    }
}
