//! The end of a client, in order: it is open, it drains, it is closed.
//!
//! What must not be cut is held: a forwarded connection, a file that is being sent. Once the drain has begun, nothing new is
//! held, and the drain ends with the last hold or when its patience does. Only then is anything cancelled.

use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Draining,
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    held: usize,
    hurried: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Life {
    state: watch::Sender<State>,
}

/// Something that is under way: as long as this lives, [`Client::close`](crate::Client::close) waits, up to its patience.
#[derive(Debug)]
pub struct Hold {
    state: watch::Sender<State>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.held -= 1);
    }
}

/// Marks the end, however it is reached: whoever waits for it must not wait for ever.
#[derive(Debug)]
pub(crate) struct Closing<'a>(&'a Life);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.phase = Phase::Closed);
    }
}

impl Default for Life {
    fn default() -> Self {
        Self { state: watch::Sender::new(State { phase: Phase::Open, held: 0, hurried: false }) }
    }
}

impl Life {
    /// Something begins; none if the end has begun.
    pub(crate) fn hold(&self) -> Option<Hold> {
        // Phase and count change under one lock, so the drain sees every hold that was given.
        let held = self.state.send_if_modified(|state| {
            let open = state.phase == Phase::Open;
            state.held += usize::from(open);
            open
        });
        held.then(|| Hold { state: self.state.clone() })
    }

    /// How much is under way.
    pub(crate) fn held(&self) -> usize {
        self.state.borrow().held
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.borrow().phase == Phase::Open
    }

    /// Waits until the drain has begun.
    pub(crate) async fn draining(&self) {
        self.reached(|state| state.phase != Phase::Open).await;
    }

    /// Waits until it is over.
    pub(crate) async fn closed(&self) {
        self.reached(|state| state.phase == Phase::Closed).await;
    }

    /// Begins the end. When what this gives is dropped, it is over.
    pub(crate) fn end(&self) -> Closing<'_> {
        self.state.send_modify(|state| state.phase = Phase::Draining);
        Closing(self)
    }

    /// A drain, of now or later, waits no more.
    pub(crate) fn hurry(&self) {
        self.state.send_modify(|state| state.hurried = true);
    }

    /// Waits until nothing is held, or for so long. Gives how much is still held.
    pub(crate) async fn drain(&self, patience: Duration) -> usize {
        if self.held() > 0 && !patience.is_zero() {
            let over = self.reached(|state| state.held == 0 || state.hurried);
            let _ = tokio::time::timeout(patience, over).await;
        }
        self.held()
    }

    async fn reached(&self, is: impl FnMut(&State) -> bool) {
        // It cannot fail: the sender is ours.
        let _ = self.state.subscribe().wait_for(is).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Whether a future is ready when it is asked once.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_drain_of_nothing_is_over_at_once_however_patient_it_is() {
        let life = Life::default();
        drop(life.hold());
        let _end = life.end();
        for patience in [Duration::ZERO, LONG, Duration::MAX] {
            assert_eq!(at_once(life.drain(patience)).await, Some(0));
        }
    }

    #[tokio::test]
    async fn a_drain_without_patience_is_over_at_once_whatever_is_held() {
        let life = Life::default();
        let _hold = life.hold().unwrap();
        let _end = life.end();
        assert_eq!(at_once(life.drain(Duration::ZERO)).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_hold_or_with_its_patience() {
        let life = Life::default();
        let (one, other) = (life.hold().unwrap(), life.hold().unwrap());
        let _end = life.end();
        let mut drain = pin!(life.drain(LONG));
        assert_eq!(at_once(drain.as_mut()).await, None);
        drop(one);
        assert_eq!(at_once(drain.as_mut()).await, None);
        drop(other);
        assert_eq!(drain.await, 0);

        let life = Life::default();
        let _hold = life.hold().unwrap();
        let _end = life.end();
        let began = tokio::time::Instant::now();
        assert_eq!(life.drain(LONG).await, 1);
        assert!(began.elapsed() >= LONG && began.elapsed() < LONG + Duration::from_secs(1));
        life.hurry();
        assert_eq!(at_once(life.drain(LONG)).await, Some(1));
    }

    #[tokio::test]
    async fn nothing_new_is_held_once_the_end_has_begun() {
        let life = Life::default();
        assert!(life.is_open());
        let end = life.end();
        assert!(life.hold().is_none());
        assert!(at_once(life.draining()).await.is_some());
        assert!(at_once(life.closed()).await.is_none());
        drop(end);
        assert!(at_once(life.closed()).await.is_some());
        assert!(life.hold().is_none());
    }
}
