//! The datagrams of one connection, and how they come.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use quinn::{Connection, ConnectionError};

/// So many datagrams quinn sends with one system call. Whoever passes on what came lets the connections to which it goes have
/// their turn after as many: their calls are full then, and nothing waits in a queue that need not.
pub(crate) const BATCH: u32 = 10;

/// How a datagram came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comes {
    /// It was waited for.
    Alone,
    /// It was there already when the one before had been taken.
    CloseBehind,
}

/// Has those connections send what they were given. [`yield_now`](tokio::task::yield_now) would have the socket looked at, too: twice
/// as often as there is something new.
pub(crate) async fn receivers_first() {
    let mut had_their_turn = false;
    poll_fn(|context| {
        if std::mem::replace(&mut had_their_turn, true) {
            return Poll::Ready(());
        }
        // Behind whatever is ready to run.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Takes the next datagram.
pub(crate) async fn next(connection: &Connection) -> Result<(Bytes, Comes), ConnectionError> {
    let (mut reading, mut comes) = (pin!(connection.read_datagram()), Comes::CloseBehind);
    let datagram = poll_fn(|context| {
        let polled = reading.as_mut().poll(context);
        if polled.is_pending() {
            comes = Comes::Alone;
        }
        polled
    })
    .await?;
    Ok((datagram, comes))
}
