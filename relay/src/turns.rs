//! Whoever has had a turn lets all others have theirs, where one thread carries all sessions.
//!
//! It is not enough to go to the end of the line: with a thousand in it who all have more to do, the socket would be looked at once
//! in a round of many milliseconds, and overflow. So no more than some of each kind go on in each round; the others wait until
//! those have, in the order in which they came. Who brings datagrams does not wait for those who bring control frames.

use tokio::sync::Semaphore;

/// Those of one kind who have more to do.
pub(crate) struct Line(Semaphore);

/// Clients' datagrams that are taken.
pub(crate) static DATAGRAMS: Line = Line::new(8);

/// Queues of datagrams that are handed over.
pub(crate) static QUEUES: Line = Line::new(8);

/// Clients' control frames that are taken, and answers.
pub(crate) static CONTROL: Line = Line::new(4);

/// Handshakes that begin. Each takes as long as hundreds of datagrams.
pub(crate) static HANDSHAKES: Line = Line::new(1);

/// HELLOs that are judged, which is two signatures. They do not wait for those who bring other control frames, who are known.
pub(crate) static HELLOS: Line = Line::new(1);

impl Line {
    /// So many go on in a round.
    const fn new(count: usize) -> Self {
        Self(Semaphore::const_new(count))
    }

    /// Waits until all others had their turn, the socket among them.
    pub(crate) async fn others_first(&self) {
        // It is never closed, and an error would only mean that nobody has to wait.
        let _permit = self.0.acquire().await;
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn of_a_thousand_who_have_more_to_do_few_go_on_in_each_round() {
        let done = Arc::new(AtomicU32::new(0));
        for _ in 0..1000 {
            let done = done.clone();
            tokio::spawn(async move {
                CONTROL.others_first().await;
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let (mut before, mut most, mut rounds) = (0, 0, 0);
        while before < 1000 {
            tokio::task::yield_now().await;
            let now = done.load(Ordering::Relaxed);
            most = most.max(now - std::mem::replace(&mut before, now));
            rounds += 1;
        }
        assert!(most <= 16, "{most} in a round");
        assert!(rounds < 1000, "{rounds} rounds");
    }
}
