//! Whoever has had a turn lets all others have theirs, where one thread carries all sessions.
//!
//! It is not enough to go to the end of the line: with a thousand in it who all have more to do, the socket would be looked at once
//! in a round of many milliseconds, and overflow. So no more than some of each kind go on in each round; the others wait until
//! those have, in the order in which they came. Who brings datagrams does not wait for those who bring control frames.

use tokio::sync::Semaphore;

/// Those of one kind who have more to do.
#[derive(Debug)]
pub(crate) struct Line(Semaphore);

/// All lines of one relay.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Clients' datagrams that are taken.
    pub(crate) datagrams: Line,
    /// Queues of datagrams that are handed over.
    pub(crate) queues: Line,
    /// The same, of those that are never empty, because their clients take little or nothing. When a thousand of them are tried
    /// again, all of their queues move at once: they wait for each other, and nobody for them.
    pub(crate) stuck: Line,
    /// Clients' control frames that are taken, and answers.
    pub(crate) control: Line,
    /// Handshakes that begin. Each takes as long as hundreds of datagrams.
    pub(crate) handshakes: Line,
    /// HELLOs that are judged, which is two signatures. They do not wait for those who bring other control frames, who are known.
    pub(crate) hellos: Line,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            datagrams: Line::new(8),
            queues: Line::new(8),
            stuck: Line::new(4),
            control: Line::new(4),
            handshakes: Line::new(2),
            hellos: Line::new(2),
        }
    }
}

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
        let (done, lines) = (Arc::new(AtomicU32::new(0)), Arc::<Lines>::default());
        for _ in 0..1000 {
            let (done, lines) = (done.clone(), lines.clone());
            tokio::spawn(async move {
                lines.control.others_first().await;
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
