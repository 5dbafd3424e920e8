//! A bounded queue from many to one, which costs nearly nothing while it is empty: sessions are, nearly always, and there are
//! ten thousand of them. (A channel of tokio's holds a block of 32 entries from the start, and some cache lines.)

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Room for so many entries is kept when it is empty.
const KEPT: usize = 4;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    limit: usize,
    filled: Notify,
}

impl<T> Mailbox<T> {
    /// Empty, for at most so many.
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), limit, filled: Notify::new() }
    }

    /// Puts one in, if there is room. Whether there was.
    pub(crate) fn put(&self, entry: T) -> bool {
        let mut queue = self.lock();
        if queue.len() >= self.limit {
            return false;
        }
        queue.push_back(entry);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// How many are in it.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The next one; waits for it. Only one may wait. Cancel-safe: what is not returned stays.
    pub(crate) async fn next(&self) -> T {
        loop {
            if let Some(entry) = self.pop() {
                return entry;
            }
            self.filled.notified().await;
        }
    }

    /// The next one, if there is one.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut queue = self.lock();
        let entry = queue.pop_front()?;
        if queue.is_empty() {
            queue.shrink_to(KEPT);
        }
        Some(entry)
    }

    /// Nothing panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_order_and_no_more_than_its_limit() {
        let mailbox = Mailbox::new(3);
        assert_eq!([1, 2, 3, 4].map(|entry| mailbox.put(entry)), [true, true, true, false]);
        assert_eq!((mailbox.next().await, mailbox.next().await), (1, 2));
        assert!(mailbox.put(5));
        assert_eq!((mailbox.next().await, mailbox.next().await), (3, 5));
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_there() {
        const COUNT: u32 = 20_000;
        let mailbox = Arc::new(Mailbox::new(4));
        let putting = mailbox.clone();
        let putter = std::thread::spawn(move || {
            for entry in 0..COUNT {
                while !putting.put(entry) {
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..COUNT {
            // Each is waited for and given up first, as `select!` does: nothing may be lost by that.
            let at_once = tokio::select! {
                biased;
                entry = mailbox.next() => Some(entry),
                () = std::future::ready(()) => None,
            };
            let entry = match at_once {
                Some(entry) => entry,
                None => tokio::time::timeout(PATIENCE, mailbox.next()).await.expect("it comes"),
            };
            assert_eq!(entry, expected);
        }
        putter.join().unwrap();
    }

    #[tokio::test]
    async fn an_empty_one_keeps_no_room_for_what_it_once_held() {
        let mailbox = Mailbox::new(1000);
        (0..1000).for_each(|entry| assert!(mailbox.put(entry)));
        for _ in 0..1000 {
            mailbox.next().await;
        }
        assert!(mailbox.lock().capacity() <= 2 * KEPT);
    }
}
