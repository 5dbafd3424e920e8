//! The datagrams of one connection, and how they come.

use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadDatagram};

/// So many datagrams quinn sends with one system call. Whoever passes on what came lets the connections to which it goes have
/// their turn after as many: their calls are full then, and nothing waits in a queue that need not.
pub(crate) const BATCH: usize = 10;

/// How a datagram came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comes {
    /// It was waited for.
    Alone,
    /// It was there already when the one before had been taken.
    CloseBehind,
}

/// See the [module](self).
pub(crate) struct Arrivals<'a, 'r> {
    connection: &'a Connection,
    reading: Pin<&'r mut ReadDatagram<'a>>,
    taken: Vec<Bytes>,
}

impl<'a, 'r> Arrivals<'a, 'r> {
    /// Of `connection`, which `reading` reads from.
    pub(crate) const fn new(
        connection: &'a Connection,
        reading: Pin<&'r mut ReadDatagram<'a>>,
    ) -> Self {
        Self { connection, reading, taken: Vec::new() }
    }

    /// Waits for a datagram, and takes it and those that are there already, so many at most.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Batch<'_>, ConnectionError> {
        let mut comes = Comes::CloseBehind;
        std::future::poll_fn(|context| {
            let polled = self.poll(most, context);
            if polled.is_pending() {
                comes = Comes::Alone;
            }
            polled
        })
        .await?;
        Ok(Batch { datagrams: &mut self.taken, comes })
    }

    fn poll(
        &mut self,
        most: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        while self.taken.len() < most {
            match self.reading.as_mut().poll(context) {
                Poll::Ready(Ok(datagram)) => {
                    self.taken.push(datagram);
                    self.reading.set(self.connection.read_datagram());
                }
                // What was taken is not lost, and the error is there the next time.
                Poll::Ready(Err(error)) if self.taken.is_empty() => {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Err(_)) => {
                    self.reading.set(self.connection.read_datagram());
                    break;
                }
                Poll::Pending if self.taken.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Datagrams that were taken at once. They are gone when this is dropped: each is a slice of all that came with it.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    datagrams: &'a mut Vec<Bytes>,
    /// How the first came; the others came close behind.
    pub(crate) comes: Comes,
}

impl Deref for Batch<'_> {
    type Target = [Bytes];

    fn deref(&self) -> &Self::Target {
        self.datagrams
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.datagrams.clear();
    }
}

/// Has those connections send what they were given. [`yield_now`](tokio::task::yield_now) would have the socket looked at, too: twice
/// as often as there is something new.
pub(crate) async fn receivers_first() {
    let mut had_their_turn = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut had_their_turn, true) {
            return Poll::Ready(());
        }
        // Behind whatever is ready to run.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::connected::connected;

    #[tokio::test]
    async fn what_has_come_is_taken_in_order_and_no_more_than_asked_for() {
        let (connection, client, _ends) = connected().await;
        let reading = pin!(connection.read_datagram());
        let mut arrivals = Arrivals::new(&connection, reading);
        let (mut taken, mut most) = (Vec::new(), 0);
        for round in 0..20 {
            // No more than quinn holds: it drops the oldest.
            for number in 0..25 {
                client.send_datagram(vec![round, number].into()).unwrap();
            }
            while taken.len() < 25 * (usize::from(round) + 1) {
                let batch = arrivals.next(7).await.unwrap();
                assert!((1..=7).contains(&batch.len()));
                most = most.max(batch.len());
                taken.extend(batch.iter().map(|datagram| (datagram[0], datagram[1])));
            }
        }
        let sent: Vec<_> = (0..20).flat_map(|round| (0..25).map(move |n| (round, n))).collect();
        assert_eq!(taken, sent);
        assert_eq!(most, 7, "what comes together is taken together");
        assert!(arrivals.taken.is_empty(), "nothing is held of what was taken");
    }

    #[tokio::test]
    async fn who_waited_is_told_and_what_came_before_the_end_is_not_lost() {
        let (connection, client, _ends) = connected().await;
        let reading = pin!(connection.read_datagram());
        let mut arrivals = Arrivals::new(&connection, reading);
        let (batch, sent) =
            tokio::join!(arrivals.next(10), async { client.send_datagram(b"a".as_slice().into()) });
        sent.unwrap();
        assert_eq!(batch.unwrap().comes, Comes::Alone);
        for _ in 0..5 {
            client.send_datagram(b"b".as_slice().into()).unwrap();
        }
        // They are there, and then the connection is not.
        while connection.stats().frame_rx.datagram < 6 {
            tokio::task::yield_now().await;
        }
        let first = arrivals.next(1).await.unwrap().len();
        connection.close(0_u32.into(), b"");
        let mut rest = 0;
        while let Ok(batch) = arrivals.next(10).await {
            rest += batch.len();
        }
        assert_eq!((first, rest), (1, 4));
    }
}
